"""Flow runs on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.model.states import StateType
from headrace.wire.filters import (
    DeploymentFilter,
    FlowFilter,
    FlowRunFilter,
    TaskRunFilter,
    WorkPoolFilter,
    WorkQueueFilter,
)
from headrace.wire.text import BigInt, JsonObject, Labels, Offset, Page, Query, Text

from .sorts import FlowRunSort
from .states import (
    HistoryEntry,
    SetStateStatus,
    State,
    StateAbortDetails,
    StateAcceptDetails,
    StateCreate,
    StateRejectDetails,
    StateWaitDetails,
)


class FlowRunPolicy(BaseModel):
    """How often a flow run is tried again, and what its pauses have come to."""

    model_config = ConfigDict(defer_build=True)

    max_retries: BigInt = 0
    """An older name of ``retries``."""
    retry_delay_seconds: float = 0
    """An older name of ``retry_delay``."""
    retries: BigInt | None = None
    retry_delay: BigInt | None = None
    pause_keys: set[Text] | None = Field(default_factory=set)
    resuming: bool | None = False
    retry_type: Literal["in_process", "reschedule"] | None = None


class CreatedBy(BaseModel):
    """Who made a run."""

    id: UUID | None = None
    type: str | None = None
    display_value: str | None = None


class FlowRunCreate(BaseModel):
    """A flow run to be made, or found by its idempotency key."""

    model_config = ConfigDict(extra="forbid")

    flow_id: UUID
    state: StateCreate | None = None
    name: Text | None = None
    flow_version: Text | None = None
    parameters: JsonObject = Field(default_factory=dict)
    context: JsonObject = Field(default_factory=dict)
    parent_task_run_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    tags: list[Text] = Field(default_factory=list)
    labels: Labels | None = None
    idempotency_key: Text | None = None
    work_pool_name: Text | None = None
    work_queue_name: Text | None = None
    job_variables: JsonObject | None = None
    deployment_id: UUID | None = None


class FlowRunUpdate(BaseModel):
    """What of a flow run may be changed; absent means leave, ``null`` means clear."""

    model_config = ConfigDict(extra="forbid")

    name: Text | None = None
    flow_version: Text | None = None
    parameters: JsonObject = Field(default_factory=dict)
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    tags: list[Text] = Field(default_factory=list)
    infrastructure_pid: Text | None = None
    job_variables: JsonObject | None = None


class FlowRunResponse(BaseModel):
    """A flow run; ``flow_name`` and ``state_history`` are ours."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    created: datetime | None
    updated: datetime | None
    name: str = ""
    flow_id: UUID
    state_id: UUID | None = None
    deployment_id: UUID | None = None
    deployment_version: str | None = None
    work_queue_id: UUID | None = None
    work_queue_name: str | None = None
    flow_version: str | None = None
    parameters: JsonObject = Field(default_factory=dict)
    idempotency_key: str | None = None
    context: JsonObject = Field(default_factory=dict)
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    tags: list[str] = Field(default_factory=list)
    labels: Labels = Field(default_factory=dict)
    parent_task_run_id: UUID | None = None
    state_type: StateType | None = None
    state_name: str | None = None
    run_count: int = 0
    expected_start_time: datetime | None = None
    next_scheduled_start_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    total_run_time: float = 0.0
    estimated_run_time: float = 0.0
    estimated_start_time_delta: float = 0.0
    auto_scheduled: bool = False
    infrastructure_document_id: UUID | None = None
    infrastructure_pid: str | None = None
    created_by: CreatedBy | None = None
    work_pool_id: UUID | None = None
    work_pool_name: str | None = None
    state: State | None = None
    job_variables: JsonObject | None = None
    flow_name: str | None = None
    parent_flow_run_id: UUID | None = None
    state_history: list[HistoryEntry] | None = None
    """Only when one run is asked for."""


class FlowRunCount(Query):
    """Which flow runs to count; filters of other kinds narrow by what belongs to a run."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None
    work_pools: WorkPoolFilter | None = None
    work_pool_queues: WorkQueueFilter | None = None


class FlowRunQuery(FlowRunCount):
    """Which flow runs to list."""

    sort: FlowRunSort = FlowRunSort.ID_DESC
    limit: BigInt | None = None
    offset: Offset = 0


class FlowRunPaginate(FlowRunCount):
    """Which page of flow runs."""

    sort: FlowRunSort = FlowRunSort.ID_DESC
    limit: BigInt | None = None
    page: Page = 1


class FlowRunPaginationResponse(BaseModel):
    """A page of flow runs."""

    model_config = ConfigDict(defer_build=True)

    results: list[FlowRunResponse]
    count: int
    limit: int
    pages: int
    page: int


class FlowRunResume(BaseModel):
    """What a paused run is told when it goes on."""

    run_input: JsonObject | None = None


class FlowRunBulkDelete(Query):
    """Which flow runs to delete together."""

    flow_runs: FlowRunFilter | None = None
    limit: int = Field(default=50, ge=1, le=50)


class FlowRunBulkDeleteResponse(BaseModel):
    """What was deleted."""

    deleted: list[UUID] = Field(default_factory=list)


class FlowRunBulkSetState(BaseModel):
    """A state proposed for many flow runs."""

    flow_runs: FlowRunFilter | None = None
    state: StateCreate
    force: bool = False
    limit: int = Field(default=50, ge=1, le=50)


class FlowRunOrchestrationResult(BaseModel):
    """How a proposal was answered for one of many."""

    model_config = ConfigDict(defer_build=True)

    flow_run_id: UUID
    status: SetStateStatus
    state: State | None = None
    details: StateAcceptDetails | StateWaitDetails | StateRejectDetails | StateAbortDetails


class FlowRunBulkSetStateResponse(BaseModel):
    """How a proposal was answered for each of many."""

    model_config = ConfigDict(defer_build=True)

    results: list[FlowRunOrchestrationResult] = Field(default_factory=list)


class FlowRunInputCreate(BaseModel):
    """Something said to a run under a key."""

    key: Text
    value: Text
    sender: Text | None = None


class FlowRunInputQuery(BaseModel):
    """Which inputs of a run to list."""

    prefix: Text
    limit: BigInt = 1
    exclude_keys: list[Text] = Field(default_factory=list)


class FlowRunInput(BaseModel):
    """Something that was said to a run."""

    id: UUID
    created: datetime | None
    updated: datetime | None
    flow_run_id: UUID
    key: str
    value: str
    sender: str | None = None
