"""Places: the queue, and so the pool, that a deployment or a run is given to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from . import locks, work_pools, work_queues
from .tables import work_pools as pools
from .tables import work_queues as queues

AGENT_POOL = "default-agent-pool"
"""The pool of queues that are named without one: what the contract calls it. It is made when it is needed."""


class Place(NamedTuple):
    """A queue of a pool."""

    work_pool_id: str
    work_pool_name: str
    work_queue_id: str
    work_queue_name: str

    def columns(self) -> dict[str, Any]:
        """Return the columns of a flow run that say where it belongs."""
        return self._asdict()


NOWHERE: dict[str, Any] = dict.fromkeys(Place._fields)
"""The columns of a run that is carried out by whoever serves its deployment."""


def of_queue(connection: Connection, id: str) -> Place | None:
    """Return the place of a queue, or ``None``."""
    row = connection.execute(_of_queue, {"wanted": id}).first()
    return None if row is None else Place(*row)


_of_queue = (
    select(pools.c.id, pools.c.name, queues.c.id, queues.c.name)
    .select_from(queues.join(pools, pools.c.id == queues.c.work_pool_id))
    .where(queues.c.id == bindparam("wanted"))
)


def pool_of_queue(connection: Connection, id: str) -> tuple[str, dict[str, Any]] | None:
    """Return type and job template of the pool that a queue belongs to, or ``None``."""
    joined = queues.join(pools, pools.c.id == queues.c.work_pool_id)
    statement = select(pools.c.type, pools.c.base_job_template).select_from(joined).where(queues.c.id == id)
    row = connection.execute(statement).first()
    return None if row is None else (row[0], row[1] or {})


def find(
    connection: Connection,
    pool_name: str | None,
    queue_name: str | None,
    *,
    new_id: Callable[[], str],
    now_us: int,
) -> Place | None:
    """Return a queue by names, making it when its pool is there; ``None`` when the pool is not.

    Without ``queue_name`` it is the pool's default queue, without ``pool_name`` the pool is ``AGENT_POOL``.
    The queue stays until the transaction ends.
    """
    made = pool_name is None and ensure_agent_pool(connection, new_id=new_id, now_us=now_us)
    pool_name = pool_name or AGENT_POOL
    id = _queue_id(connection, pool_name, queue_name)
    if id is None:
        if not made:  # whoever makes a queue holds its pool
            locks.hold(connection, pools, pools.c.name == pool_name)
        pool_id = work_pools.id_of(connection, pool_name)
        if pool_id is None:
            return None
        id = _queue_id(connection, pool_name, queue_name)
        if id is None:
            id = new_id()
            work_queues.create(connection, pool_id, {"name": queue_name}, id=id, now_us=now_us)
    locks.refer(connection, queues, queues.c.id == id)
    return of_queue(connection, id)


def _queue_id(connection: Connection, pool_name: str, queue_name: str | None) -> str | None:
    if queue_name is not None:
        return work_queues.id_of(connection, pool_name, queue_name)
    return connection.execute(select(pools.c.default_queue_id).where(pools.c.name == pool_name)).scalar()


def ensure_agent_pool(connection: Connection, *, new_id: Callable[[], str], now_us: int) -> bool:
    """Make the pool of queues without one, unless it is there; return whether it was made."""
    values = {"name": AGENT_POOL, "type": "prefect-agent", "is_paused": False}
    return work_pools.create(connection, values, id=new_id(), queue_id=new_id(), now_us=now_us)
