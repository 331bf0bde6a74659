"""Work queues: which runs of a pool go first, and how many at once.

No two queues of a pool have the same priority: one that is given another's pushes that one, and those right
behind it, one place back. Whoever changes priorities holds the lock of the pool's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Connection

from headrace.model.clock import iso
from headrace.wire.filters import WorkQueueFilter

from . import filters, locks, readiness, slots
from .tables import deployments, flow_runs, work_pools, work_queues

Json = dict[str, Any]
Row = Mapping[str, Any]
_c = work_queues.c
_PLAIN = (
    "id", "name", "description", "is_paused", "concurrency_limit", "priority", "work_pool_id", "work_pool_name",
    "filter",
)  # fmt: skip
_with_pool = select(work_queues, work_pools.c.name.label("work_pool_name")).join(
    work_pools, work_pools.c.id == _c.work_pool_id
)


def to_json(row: Row, active_slots: int, now_us: int) -> Json:
    """Return the contract's object of a row that holds ``work_pool_name``, too."""
    polled_us = row["last_polled_us"]
    ready = readiness.is_polled(polled_us, now_us)
    return {
        **{name: row[name] for name in _PLAIN},
        "created": iso(row["created_us"]),
        "updated": iso(row["updated_us"]),
        "last_polled": None if polled_us is None else iso(polled_us),
        "status": readiness.status(paused=row["is_paused"], ready=ready),
        "active_slots": active_slots,
    }


def get(connection: Connection, id: str, now_us: int) -> Json | None:
    """Return a queue by its id, or ``None``."""
    rows = connection.execute(_with_pool.where(_c.id == id)).mappings().all()
    return _all_json(connection, cast("Sequence[Row]", rows), now_us)[0] if rows else None


def id_of(connection: Connection, pool_name: str, name: str) -> str | None:
    """Return the id of the queue of this name in the pool of that name, or ``None``."""
    joined = select(_c.id).join(work_pools, work_pools.c.id == _c.work_pool_id)
    return connection.execute(joined.where(work_pools.c.name == pool_name, _c.name == name)).scalar()


def ids_of(connection: Connection, pool_id: str) -> list[str]:
    """Return the ids of a pool's queues."""
    return list(connection.execute(select(_c.id).where(_c.work_pool_id == pool_id)).scalars())


def find(
    connection: Connection,
    wanted: WorkQueueFilter | None,
    *,
    pool_id: str | None = None,
    limit: int,
    offset: int,
    now_us: int,
) -> list[Json]:
    """Return the queues that fit: of one pool by priority, of all by name."""
    statement = _with_pool.where(filters.work_queue(wanted))
    if pool_id is not None:
        statement = statement.where(_c.work_pool_id == pool_id).order_by(_c.priority, _c.name)
    else:
        statement = statement.order_by(_c.name, _c.id)
    rows = connection.execute(statement.limit(limit).offset(offset)).mappings().all()
    return _all_json(connection, cast("Sequence[Row]", rows), now_us)


def create(connection: Connection, pool_id: str, values: Row, *, id: str, now_us: int) -> bool:
    """Make a queue of a pool, the last of it unless ``values`` say a priority; return whether its name was free."""
    taken = select(_c.id).where(_c.work_pool_id == pool_id, _c.name == values["name"])
    if connection.execute(taken).first() is not None:
        return False
    priority = values.get("priority")
    if priority is None:
        last = select(func.max(_c.priority)).where(_c.work_pool_id == pool_id)
        priority = (connection.execute(last).scalar() or 0) + 1
    else:
        _make_room(connection, pool_id, priority, None)
    times = {"created_us": now_us, "updated_us": now_us}
    row = {"description": "", **values, "id": id, "work_pool_id": pool_id, "priority": priority, **times}
    connection.execute(insert(work_queues).values(**row))
    return True


def change(connection: Connection, id: str, changes: Row, now_us: int) -> bool:
    """Change columns of a queue; return whether there is such a queue.

    A new name is told to its runs that have not ended; those that have keep the name that it had.
    """
    pool_id = _lock_pool_of(connection, id)
    if pool_id is None:
        return False
    if "priority" in changes:
        _make_room(connection, pool_id, changes["priority"], id)
    locks.hold(connection, work_queues, _c.id == id)
    connection.execute(update(work_queues).where(_c.id == id).values(**changes, updated_us=now_us))
    if "name" in changes:
        open_ones = (flow_runs.c.work_queue_id == id, flow_runs.c.end_us.is_(None))
        locks.hold(connection, flow_runs, *open_ones)
        named = update(flow_runs).where(*open_ones)
        connection.execute(named.values(work_queue_name=changes["name"]))
    return True


def delete(connection: Connection, id: str) -> bool:
    """Delete a queue; return whether there was one. Its deployments stay, without a queue."""
    _lock_pool_of(connection, id)
    let_go(connection, [id])
    return connection.execute(sql_delete(work_queues).where(_c.id == id)).rowcount > 0


def is_default(connection: Connection, id: str) -> bool:
    """Say whether a queue is its pool's default one."""
    statement = select(work_pools.c.id).where(work_pools.c.default_queue_id == id)
    return connection.execute(statement).first() is not None


def is_free(connection: Connection, id: str, name: str) -> bool:
    """Say whether a queue may have this name: no other one of its pool has it."""
    pool = select(_c.work_pool_id).where(_c.id == id).scalar_subquery()
    others = select(_c.id).where(_c.work_pool_id == pool, _c.name == name, _c.id != id)
    return connection.execute(others).first() is None


def last_polled_us(connection: Connection, id: str) -> int | None:
    """Return when somebody last asked for runs of a queue; ``None`` when nobody did."""
    return connection.execute(select(_c.last_polled_us).where(_c.id == id)).scalar()


def let_go(connection: Connection, ids: Sequence[str]) -> None:
    """Take the runs that have not ended from queues that are about to go. Walks ``ix_flow_runs_work_queue``.

    With them their deployments are locked, which the database lets go as it deletes the queues.
    """
    locks.hold_to_delete(connection, work_queues, _c.id.in_(ids))
    locks.hold(connection, deployments, deployments.c.work_queue_id.in_(ids))
    c = flow_runs.c
    locks.hold(connection, flow_runs, c.work_queue_id.in_(ids), c.end_us.is_(None))
    nowhere = dict.fromkeys(("work_pool_id", "work_pool_name", "work_queue_id", "work_queue_name"))
    statement = update(flow_runs).where(c.work_queue_id.in_(ids), c.end_us.is_(None))
    connection.execute(statement.values(**nowhere))


def late(connection: Connection, id: str) -> int:
    """Return how many runs of a queue are late. Walks ``ix_flow_runs_work_queue``."""
    c = flow_runs.c
    where = (c.work_queue_id == id, c.end_us.is_(None), c.state_type == "SCHEDULED", c.state_name == "Late")
    return connection.execute(select(func.count()).select_from(flow_runs).where(*where)).scalar_one()


def _lock_pool_of(connection: Connection, id: str) -> str | None:
    pool = select(_c.work_pool_id).where(_c.id == id).scalar_subquery()
    statement = locks.held(work_pools, select(work_pools.c.id).where(work_pools.c.id == pool))
    return connection.execute(statement).scalar()


def _make_room(connection: Connection, pool_id: str, priority: int, own: str | None) -> None:
    """Push back the queue that has this priority, and those that are in its way."""
    behind = (_c.work_pool_id == pool_id, _c.priority >= priority)
    locks.hold(connection, work_queues, _c.work_pool_id == pool_id)
    rows = connection.execute(select(_c.id, _c.priority).where(*behind).order_by(_c.priority)).all()
    taken = priority
    for id, at in rows:
        if id == own:
            continue
        if at > taken:
            return
        taken += 1
        connection.execute(update(work_queues).where(_c.id == id).values(priority=taken))


def _all_json(connection: Connection, rows: Sequence[Row], now_us: int) -> list[Json]:
    active = slots.of_queues(connection, [row["id"] for row in rows])
    return [to_json(row, active.get(row["id"], 0), now_us) for row in rows]
