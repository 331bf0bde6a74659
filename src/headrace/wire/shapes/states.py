"""States on the wire: what a client proposes, what a run is in, and how a proposal is answered."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.model.states import StateType
from headrace.wire.text import Message, Text


class StateDetails(BaseModel):
    """What a state carries besides its type; ``evidence`` is ours."""

    model_config = ConfigDict(defer_build=True)

    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    child_flow_run_id: UUID | None = None
    scheduled_time: datetime | None = None
    cache_key: Message | None = None
    cache_expiration: datetime | None = None
    deferred: bool | None = False
    untrackable_result: bool = False
    pause_timeout: datetime | None = None
    pause_reschedule: bool = False
    pause_key: Text | None = None
    run_input_keyset: dict[str, str] | None = None
    refresh_cache: bool | None = None
    retriable: bool | None = None
    transition_id: UUID | None = None
    task_parameters_id: UUID | None = None
    traceparent: Message | None = None
    deployment_concurrency_lease_id: UUID | None = None


class StateCreate(BaseModel):
    """A state that somebody proposes."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    type: StateType
    name: Message | None = None
    message: Message | None = None
    data: Any = None
    state_details: StateDetails = Field(default_factory=StateDetails)


class State(BaseModel):
    """A state that a run is or was in."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    type: StateType
    name: str | None = None
    timestamp: datetime = Field(default_factory=datetime.now)
    message: str | None = None
    data: Any = None
    state_details: StateDetails = Field(default_factory=StateDetails)


class SetState(BaseModel):
    """The body of ``set_state``."""

    state: StateCreate
    force: bool = False
    """Whether the rules are passed over."""


class SetStateStatus(str, Enum):
    """How a proposal is answered."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    ABORT = "ABORT"
    WAIT = "WAIT"


class StateAcceptDetails(BaseModel):
    """It is so."""

    type: Literal["accept_details"] = "accept_details"


class StateRejectDetails(BaseModel):
    """Another state stands; go by that."""

    type: Literal["reject_details"] = "reject_details"
    reason: str | None = None


class StateAbortDetails(BaseModel):
    """Nothing changed; give up."""

    type: Literal["abort_details"] = "abort_details"
    reason: str | None = None


class StateWaitDetails(BaseModel):
    """Nothing changed; ask again later."""

    type: Literal["wait_details"] = "wait_details"
    delay_seconds: int
    reason: str | None = None


class OrchestrationResult(BaseModel):
    """The answer to a proposal."""

    model_config = ConfigDict(defer_build=True)

    state: State | None
    status: SetStateStatus
    details: StateAcceptDetails | StateWaitDetails | StateRejectDetails | StateAbortDetails


class HistoryEntry(BaseModel):
    """A state in a run's history with where it comes from (ours; the contract has no such list)."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    type: StateType
    name: str
    message: str | None = None
    timestamp: datetime
    state_details: dict[str, Any] = Field(default_factory=dict)
    rank: str
    """``presumption``, ``verdict``, ``fact``, ``proposal`` or ``forced``."""
    source: str
    """Who spoke: ``server``, ``supervisor``, ``run`` or ``client``."""
    attempt: int = 1
