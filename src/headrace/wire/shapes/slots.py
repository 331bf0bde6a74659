"""Slots on the wire: how many runs of a pool or a queue live, of how many that may, and which they are."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.model.states import StateType
from headrace.wire.text import BigInt, Page, Query


class QueueSlotsQuery(Query):
    """Which page of the runs that hold a queue's slots."""

    page: Page = 1
    limit: BigInt | None = None


class PoolSlotsQuery(Query):
    """Which page of a pool's queues, and how many runs of each."""

    page: Page = 1
    limit: BigInt | None = None
    flow_run_limit: Annotated[int, Field(ge=0, le=200)] = 10


class FlowRunSlotSummary(BaseModel):
    """A run that holds a slot."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    name: str
    state_type: StateType | None = None
    state_name: str | None = None
    state_timestamp: datetime | None = None
    time_in_current_state: float | None = None
    """Seconds."""
    start_time: datetime | None = None


class WorkQueueConcurrencyStatusDetail(BaseModel):
    """A queue's slots, as part of its pool's."""

    model_config = ConfigDict(defer_build=True)

    queue_id: UUID
    queue_name: str
    active_slots: int
    concurrency_limit: int | None = None
    flow_run_count: int | None = None
    flow_runs: list[FlowRunSlotSummary] = Field(default_factory=list)


class _Status(BaseModel):
    model_config = ConfigDict(defer_build=True)

    active_slots: int
    concurrency_limit: int | None = None
    count: int
    limit: int
    pages: int
    page: int


class WorkPoolConcurrencyStatus(_Status):
    """A pool's slots, by queue."""

    queues: list[WorkQueueConcurrencyStatusDetail] = Field(default_factory=list)


class WorkQueueConcurrencyStatus(_Status):
    """A queue's slots, by run."""

    flow_runs: list[FlowRunSlotSummary] = Field(default_factory=list)
