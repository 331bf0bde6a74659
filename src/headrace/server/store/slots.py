"""Slots: how many runs of a pool, queue or deployment live, which is what limits count."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.engine import Connection, RowMapping

from .tables import flow_runs, walking, work_queues

_c = flow_runs.c

_LIVES = (_c.holds_slot,)

Counts = dict[str, int]
"""``{id: how many}``; what has none is not there."""


def of_queues(connection: Connection, ids: Collection[str]) -> Counts:
    """Count the runs of work queues that live. Walks ``ix_flow_runs_queue_slots``."""
    return _by(connection, _c.work_queue_id, "ix_flow_runs_queue_slots", ids)


def of_pools(connection: Connection, ids: Collection[str]) -> Counts:
    """Count the runs of work pools that live. Walks ``ix_flow_runs_queue_slots`` for each queue of theirs."""
    if not ids:
        return {}
    q = work_queues.c
    joined = work_queues.join(flow_runs, _c.work_queue_id == q.id)
    statement = select(q.work_pool_id, func.count()).select_from(joined)
    rows = connection.execute(statement.where(q.work_pool_id.in_(ids), *_LIVES).group_by(q.work_pool_id))
    return {row[0]: row[1] for row in rows}


def of_deployments(connection: Connection, ids: Collection[str]) -> Counts:
    """Count the runs of deployments that live. Walks ``ix_flow_runs_deployment_slots``."""
    return _by(connection, _c.deployment_id, "ix_flow_runs_deployment_slots", ids)


def _by(connection: Connection, column: ColumnElement[str], index: str, ids: Collection[str]) -> Counts:
    if not ids:
        return {}
    statement = select(column, func.count()).where(column.in_(ids), *_LIVES).group_by(column)
    return {row[0]: row[1] for row in connection.execute(walking(statement, flow_runs, index))}


_SHOWN = (_c.id, _c.name, _c.state_type, _c.state_name, _c.state_us, _c.start_us, _c.work_queue_id)


def holders(
    connection: Connection, queues: Collection[str], *, limit: int, offset: int = 0
) -> list[RowMapping]:
    """Return the runs that hold slots of queues, at most ``limit`` of each queue, the longest in its state first.

    Walks ``ix_flow_runs_queue_slots``.
    """
    if not queues or limit == 0:
        return []
    place = (
        func.row_number().over(partition_by=_c.work_queue_id, order_by=(_c.state_us, _c.id)).label("place")
    )
    live = select(*_SHOWN, place).where(_c.work_queue_id.in_(queues), *_LIVES).subquery()
    wanted = select(live).where(live.c.place > offset, live.c.place <= offset + limit)
    return list(connection.execute(wanted.order_by(live.c.state_us, live.c.id)).mappings())
