"""Work queues on the wire: which runs of a pool go first, and how many at once."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.wire.filters import WorkQueueFilter
from headrace.wire.text import BigInt, Count, Message, Name, Offset, Query, Text

Priority = Annotated[int, Field(gt=0, le=1_000_000_000)]
"""1 goes first."""


class WorkQueueStatus(str, Enum):
    """Whether runs of a queue are carried out."""

    READY = "READY"
    NOT_READY = "NOT_READY"
    PAUSED = "PAUSED"


class QueueFilter(BaseModel):
    """Which runs an old agent's queue held; kept for its clients, asked by nobody."""

    tags: list[Text] | None = None
    deployment_ids: list[UUID] | None = None


class WorkQueueCreate(BaseModel):
    """A work queue to be made; without a ``priority`` it comes after all others of its pool."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    description: Message | None = ""
    is_paused: bool = False
    concurrency_limit: Count | None = None
    priority: Priority | None = None
    filter: QueueFilter | None = None


class WorkQueueUpdate(BaseModel):
    """What of a work queue may be changed; absent means leave, ``null`` means clear."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    description: Message | None = None
    is_paused: bool = False
    concurrency_limit: Count | None = None
    priority: Priority | None = None
    last_polled: datetime | None = None
    filter: QueueFilter | None = None


class WorkQueue(BaseModel):
    """A work queue without what its pool adds."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    created: datetime | None
    updated: datetime | None
    name: Name
    description: str | None = ""
    is_paused: bool = False
    concurrency_limit: Count | None = None
    priority: Priority = 1
    work_pool_id: UUID | None = None
    filter: QueueFilter | None = None
    last_polled: datetime | None = None


class WorkQueueResponse(WorkQueue):
    """A work queue."""

    work_pool_name: str | None = None
    status: WorkQueueStatus | None = None
    active_slots: int | None = None


class WorkQueueQuery(Query):
    """Which work queues to list."""

    work_queues: WorkQueueFilter | None = None
    limit: BigInt | None = None
    offset: Offset = 0


class WorkQueueHealthPolicy(BaseModel):
    """When a queue counts as healthy; ``null`` asks nothing."""

    maximum_late_runs: int | None = 0
    maximum_seconds_since_last_polled: int | None = 60


class WorkQueueStatusDetail(BaseModel):
    """How a queue is."""

    model_config = ConfigDict(defer_build=True)

    healthy: bool
    late_runs_count: int = 0
    last_polled: datetime | None = None
    health_check_policy: WorkQueueHealthPolicy
