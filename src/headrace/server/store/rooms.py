"""Room for one run under the limits of its pool, queue and deployment.

Locks are taken in the server's one order (``locks.py``). Who has counted under pool, queue and deployment knows that
nobody else takes a slot of theirs until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from sqlalchemy import Table, select
from sqlalchemy.engine import Connection

from . import locks, slots
from .tables import deployments, flow_runs, work_pools, work_queues


class Rooms(NamedTuple):
    """Which limits a run is under, and which of them has no room for one more."""

    full: str | None = None
    """``deployment``, ``work queue`` or ``work pool``, in words for people; ``None``: there is room."""
    cancels: bool = False
    """Whether its deployment is full and cancels what it has no room for (``CANCEL_NEW``)."""
    leases: bool = False
    """Whether its deployment has a limit: then clients are told a lease on their slot."""


UNLIMITED = Rooms()


class _Kind(NamedTuple):
    words: str
    table: Table
    tally: Callable[[Connection, Collection[str]], slots.Counts]


_KINDS = (
    _Kind("work pool", work_pools, slots.of_pools),
    _Kind("work queue", work_queues, slots.of_queues),
    _Kind("deployment", deployments, slots.of_deployments),
)
"""In the order of the locks."""


def lock(connection: Connection, flow_run_id: str) -> Rooms:
    """Count the room that there is for a run, and keep it until the transaction ends; call it before locking the run.

    Only rows that have a limit are locked.
    """
    places = _places(connection, flow_run_id)
    limits = [(kind, id, _lock(connection, kind.table, id)) for kind, id in zip(_KINDS, places, strict=True)]
    full = [
        kind.words
        for kind, id, limit in limits
        if id is not None and limit is not None and kind.tally(connection, [id]).get(id, 0) >= limit
    ]
    leases = limits[-1][2] is not None
    cancels = "deployment" in full and _cancels(connection, places[-1])
    return Rooms(full[-1] if full else None, cancels, leases)


def _places(connection: Connection, flow_run_id: str) -> tuple[str | None, str | None, str | None]:
    """Return the ids of a run's pool, queue and deployment."""
    r, q = flow_runs.c, work_queues.c
    columns = select(q.work_pool_id, r.work_queue_id, r.deployment_id)
    joined = columns.select_from(flow_runs.outerjoin(work_queues, q.id == r.work_queue_id))
    row = connection.execute(joined.where(r.id == flow_run_id)).first()
    return (None, None, None) if row is None else (row[0], row[1], row[2])


def _lock(connection: Connection, table: Table, id: str | None) -> int | None:
    """Lock a row that has a limit, and return that."""
    if id is None:
        return None
    limit = table.c.concurrency_limit
    statement = select(limit).where(table.c.id == id, limit.is_not(None))
    found: int | None = connection.execute(locks.held(table, statement)).scalar()
    return found


def _cancels(connection: Connection, deployment_id: str | None) -> bool:
    statement = select(deployments.c.concurrency_options).where(deployments.c.id == deployment_id)
    options: dict[str, Any] | None = connection.execute(statement).scalar()
    return (options or {}).get("collision_strategy") == "CANCEL_NEW"
