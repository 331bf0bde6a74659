"""Workers on the wire."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from headrace.wire.filters import WorkerFilter, WorkerStatus
from headrace.wire.text import BigInt, Name, Offset, Positive, Query


class WorkerHeartbeat(BaseModel):
    """A worker's sign of life."""

    name: Name
    heartbeat_interval_seconds: Positive | None = None


class WorkerResponse(BaseModel):
    """A worker."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    created: datetime | None
    updated: datetime | None
    name: str
    work_pool_id: UUID
    last_heartbeat_time: datetime | None = None
    heartbeat_interval_seconds: int | None = None
    status: WorkerStatus = WorkerStatus.OFFLINE


class WorkerQuery(Query):
    """Which workers to list."""

    workers: WorkerFilter | None = None
    limit: BigInt | None = None
    offset: Offset = 0
