"""What a dashboard asks a database again and again: how many runs are in which state, and how long queues are.

Everything here is bounded: open runs are few, ended ones are counted for the last hour alone, queues are listed up
to a number.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from headrace.model.states import BY_NAME, DEFAULT_NAME, TERMINAL

from .tables import flow_runs, walking, work_pools, work_queues

_r = flow_runs.c
_q = work_queues.c

QUEUES = 500
"""Queues that are told at most, by their age: each is a series of its own in whatever keeps the figures."""

_OPEN = tuple(sorted(set(DEFAULT_NAME) - TERMINAL))


class Count(NamedTuple):
    """How many flow runs are in a state; a name of the user's own counts as the usual one of its type."""

    type: str
    name: str
    runs: int


class Queue(NamedTuple):
    """What waits in a work queue."""

    pool: str
    queue: str
    due: int
    """Runs whose time has come and which nobody has taken."""
    oldest_us: int | None
    """For when the first of them was planned, in microseconds since 1970; ``None`` without one."""


def open_runs(connection: Connection) -> list[Count]:
    """Count flow runs that have not ended, by state. Walks one of ``ix_flow_runs_state_type_*``, or ``ix_flow_runs_open``."""
    where = (_r.state_type.in_(_OPEN), _r.end_us.is_(None))
    found = select(_r.state_type, _r.state_name, func.count()).where(*where)
    return _by_known_name(connection.execute(found.group_by(_r.state_type, _r.state_name)))


def ended_runs(connection: Connection, since_us: int) -> list[Count]:
    """Count flow runs that ended after a time, by state. Walks ``ix_flow_runs_end``."""
    found = select(_r.state_type, _r.state_name, func.count()).where(_r.end_us >= since_us)
    counted = found.group_by(_r.state_type, _r.state_name)
    return _by_known_name(connection.execute(walking(counted, flow_runs, "ix_flow_runs_end")))


def queues(connection: Connection, now_us: int) -> list[Queue]:
    """Return what waits in each queue, the oldest queues first.

    Walks one of ``ix_flow_runs_state_type_*`` once for all of them.
    """
    first = select(_q.id, work_pools.c.name.label("pool"), _q.name).join(
        work_pools, work_pools.c.id == _q.work_pool_id
    )
    listed = connection.execute(first.order_by(_q.id).limit(QUEUES)).all()
    waiting = select(_r.work_queue_id, func.count(), func.min(_r.next_scheduled_us)).where(
        _r.state_type == "SCHEDULED",
        _r.holds_slot.is_(False),
        _r.work_queue_id.is_not(None),
        _r.next_scheduled_us <= now_us,
    )
    due = {
        id: (count, oldest) for id, count, oldest in connection.execute(waiting.group_by(_r.work_queue_id))
    }
    return [Queue(row.pool, row.name, *due.get(row.id, (0, None))) for row in listed]


def _by_known_name(rows: object) -> list[Count]:
    counts: dict[tuple[str, str], int] = {}
    for type, name, runs in rows:  # type: ignore[attr-defined]  # rows of three columns
        known = BY_NAME.get(name)
        key = (type, name if known is not None and known.type == type else DEFAULT_NAME[type])
        counts[key] = counts.get(key, 0) + runs
    return [Count(*key, runs) for key, runs in sorted(counts.items())]
