"""Tables to which rows only come, and from which they go by age or by size, the oldest first: log lines and events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Column, Table

from headrace.model.ids import first_of

from .tables import events, log_chunks


class Stream(NamedTuple):
    """One of these tables; moments are in microseconds since 1970, UTC."""

    table: Table
    at: Column[int]
    """When the last of what a row holds happened: by it its age is told."""
    order: Column[Any]
    """By what an index finds the oldest rows first, or about so."""
    first_id: Callable[[int], int | str]
    """Returns the least id that rows are given at a moment, where ids tell the time."""
    moment: Callable[[str], int]
    """Returns the moment of such an id as PostgreSQL writes it."""


def _moment_of_uuid(text: str) -> int:
    return int(text.replace("-", "")[:12], 16) * 1_000


LOGS = Stream(
    log_chunks,
    log_chunks.c.last_us,
    log_chunks.c.id,
    lambda us: us << 10,  # of PostgreSQL, see ``partitions.py``; SQLite counts
    lambda text: int(text) >> 10,
)

EVENTS = Stream(events, events.c.occurred_us, events.c.occurred_us, first_of, _moment_of_uuid)

STREAMS = (LOGS, EVENTS)
