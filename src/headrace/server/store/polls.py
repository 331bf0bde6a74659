"""When somebody last asked for the runs of a queue, or of a deployment that serves itself."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection

from .tables import deployments, work_pools, work_queues


def saw(connection: Connection, polled_us: Mapping[str, int]) -> None:
    """Note when queues and deployments were asked for, ``{id: when}``: queues first, each kind by id."""
    rows = [{"row": id, "at": at} for id, at in sorted(polled_us.items())]
    if rows:
        connection.execute(_of_queues, rows)
        connection.execute(_of_deployments, rows)


def pool_is_there(connection: Connection, id: str) -> bool:
    """Say whether a pool has not been deleted meanwhile."""
    return connection.execute(select(work_pools.c.id).where(work_pools.c.id == id)).first() is not None


_of_queues = (
    update(work_queues).where(work_queues.c.id == bindparam("row")).values(last_polled_us=bindparam("at"))
)
_of_deployments = (
    update(deployments).where(deployments.c.id == bindparam("row")).values(last_polled_us=bindparam("at"))
)
