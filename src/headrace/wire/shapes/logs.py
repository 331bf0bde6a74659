"""Log lines on the wire."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from headrace.wire.filters import LogFilter
from headrace.wire.text import BigInt, Message, Offset, Query

from .sorts import LogSort


class LogCreate(BaseModel):
    """A line that a client hands in."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: Message
    """The logger."""
    level: BigInt
    """As in ``logging``: 10 debug, 20 info, 30 warning, 40 error, 50 critical."""
    message: Message
    timestamp: datetime
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None


class Log(BaseModel):
    """A line that was kept."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    created: datetime | None
    updated: datetime | None
    name: str
    level: int
    message: str
    timestamp: datetime
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None


class LogQuery(Query):
    """Which lines to list."""

    logs: LogFilter | None = None
    sort: LogSort = LogSort.TIMESTAMP_ASC
    limit: BigInt | None = None
    offset: Offset = 0
