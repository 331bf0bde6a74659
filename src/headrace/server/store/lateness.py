"""Runs whose time has passed: planned ones nobody took, suspended ones nobody resumed, begun ones nobody ran."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from . import history
from .tables import deployments, flow_runs

_c = flow_runs.c


class Paused(NamedTuple):
    """A run that is paused, in the state that it entered at a time (microseconds since 1970)."""

    id: str
    state_us: int


class Unbegun(NamedTuple):
    """A run that somebody took, and that has not begun since."""

    id: str
    state_us: int
    """When it was last heard of."""
    grace_s: float | None
    """How long that may be; ``None`` when its deployment does not say."""


def overdue(connection: Connection, before_us: int, limit: int) -> list[str]:
    """Return flow runs, the first due first, that are Scheduled for a time before ``before_us``.

    Walks ``ix_flow_runs_state_name_expected_start``, and so passes none that is Late already.
    """
    where = (
        _c.state_name == "Scheduled",
        # Not as a plain comparison, or both databases walk an index of the type, past all that is planned and late.
        func.coalesce(_c.state_type, "") == "SCHEDULED",
        _c.expected_start_us <= before_us,
        _c.next_scheduled_us <= before_us,
    )
    statement = select(_c.id).where(*where).order_by(_c.expected_start_us).limit(limit)
    return list(connection.execute(statement).scalars())


def paused(connection: Connection) -> list[Paused]:
    """Return all flow runs that wait for somebody, without a process. Walks one of ``ix_flow_runs_state_type_*``."""
    where = (_c.state_type == "PAUSED", _c.holds_slot.is_(False))
    return [Paused(*row) for row in connection.execute(select(_c.id, _c.state_us).where(*where))]


def unbegun(connection: Connection, before_us: int) -> list[Unbegun]:
    """Return flow runs that are Pending since before ``before_us`` and take a slot of their deployment's limit.

    Those in a journal have a lease of their own. Walks one of ``ix_flow_runs_state_type_*``.
    """
    joined = flow_runs.join(deployments, deployments.c.id == _c.deployment_id)
    statement = select(_c.id, _c.state_us, deployments.c.concurrency_options).select_from(joined)
    where = (
        _c.state_type == "PENDING",
        _c.journal_id.is_(None),
        _c.state_us <= before_us,
        deployments.c.concurrency_limit.is_not(None),
    )
    return [
        Unbegun(row[0], row[1], (row[2] or {}).get("grace_period_seconds"))
        for row in connection.execute(statement.where(*where))
    ]


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
