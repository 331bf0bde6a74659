"""Runs whose time has passed: planned ones that nobody took, and suspended ones that nobody resumed."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.engine import Connection

from . import history
from .tables import flow_runs

_c = flow_runs.c


class Paused(NamedTuple):
    """A run that is paused, in the state that it entered at a time (microseconds since 1970)."""

    id: str
    state_us: int


def overdue(connection: Connection, before_us: int, limit: int) -> list[str]:
    """Return flow runs, the first due first, that are Scheduled for a time before ``before_us``.

    Walks ``ix_flow_runs_state_name_expected_start``, and so passes none that is Late already.
    """
    where = (
        _c.state_name == "Scheduled",
        _c.state_type == "SCHEDULED",
        _c.expected_start_us <= before_us,
        _c.next_scheduled_us <= before_us,
    )
    statement = select(_c.id).where(*where).order_by(_c.expected_start_us).limit(limit)
    return list(connection.execute(statement).scalars())


def paused(connection: Connection) -> list[Paused]:
    """Return all flow runs that wait for somebody, without a process. Walks ``ix_flow_runs_state_type_id``."""
    where = (_c.state_type == "PAUSED", _c.holds_slot.is_(False))
    return [Paused(*row) for row in connection.execute(select(_c.id, _c.state_us).where(*where))]


def patience_us(connection: Connection, ids: Collection[str]) -> dict[str, int | None]:
    """Return ``{id: up to when it may be resumed}`` of paused runs; ``None`` for those that wait for ever.

    A pause that its own process counts (no ``pause_reschedule``) is not for the server to end.
    """
    found: dict[str, int | None] = {}
    for row in connection.execute(select(flow_runs).where(_c.id.in_(ids))).mappings():
        state = history.state_of(row)
        details = (state.details if state is not None else None) or {}
        suspended = bool(details.get("pause_reschedule"))
        found[row["id"]] = history.moment_in(details, "pause_timeout") if suspended else None
    return found
