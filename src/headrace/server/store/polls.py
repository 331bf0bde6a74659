"""When somebody last asked for the runs of a queue, or of a deployment that serves itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection

from . import locks
from .tables import deployments, work_pools, work_queues


def saw(connection: Connection, polled_us: Mapping[str, int]) -> None:
    """Note when queues and deployments were asked for, ``{id: when}``: queues first, each kind by id."""
    rows = [{"row": id, "at": at} for id, at in sorted(polled_us.items())]
    if rows:
        connection.execute(_of_queues, rows)
        connection.execute(_of_deployments, rows)


def pools_that_are_there(connection: Connection, ids: Collection[str]) -> set[str]:
    """Return those pools that have not been deleted meanwhile; they stay until the transaction ends."""
    locks.refer(connection, work_pools, work_pools.c.id.in_(ids))
    return set(connection.execute(select(work_pools.c.id).where(work_pools.c.id.in_(ids))).scalars())


_of_queues = (
    update(work_queues).where(work_queues.c.id == bindparam("row")).values(last_polled_us=bindparam("at"))
)
_of_deployments = (
    update(deployments).where(deployments.c.id == bindparam("row")).values(last_polled_us=bindparam("at"))
)
