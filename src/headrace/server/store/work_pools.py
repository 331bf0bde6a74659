"""Work pools: kinds of place where runs happen, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Connection

from headrace.model.clock import iso
from headrace.wire.filters import WorkPoolFilter

from . import filters, locks, readiness, slots, work_queues
from .tables import work_pools, workers

Json = dict[str, Any]
Row = Mapping[str, Any]
_c = work_pools.c

DEFAULT_QUEUE = "default"
"""The queue that every pool has from the start."""

_STORAGE = dict.fromkeys(("bundle_upload_step", "bundle_execution_step", "default_result_storage_block_id"))


def to_json(row: Row, *, ready: bool, active_slots: int) -> Json:
    """Return the contract's object of a row; ``ready`` says whether a worker is there."""
    return {
        **{name: row[name] for name in ("id", "name", "description", "type", "is_paused")},
        "created": iso(row["created_us"]),
        "updated": iso(row["updated_us"]),
        "base_job_template": row["base_job_template"] or {},
        "concurrency_limit": row["concurrency_limit"],
        "storage_configuration": {**_STORAGE, **(row["storage_configuration"] or {})},
        "default_queue_id": row["default_queue_id"],
        "status": readiness.status(paused=row["is_paused"], ready=ready),
        "active_slots": active_slots,
    }


def lock(connection: Connection, name: str) -> Row | None:
    """Return a pool's row and keep others from writing it until the transaction ends; ``None`` without one."""
    statement = locks.held(work_pools, select(work_pools).where(_c.name == name))
    return cast("Row | None", connection.execute(statement).mappings().first())


def id_of(connection: Connection, name: str) -> str | None:
    """Return the id of the pool of this name, or ``None``."""
    return connection.execute(select(_c.id).where(_c.name == name)).scalar()


def get(connection: Connection, name: str, now_us: int) -> Json | None:
    """Return a pool by its name, or ``None``."""
    rows = connection.execute(select(work_pools).where(_c.name == name)).mappings().all()
    return _all_json(connection, cast("Sequence[Row]", rows), now_us)[0] if rows else None


def find(
    connection: Connection, wanted: WorkPoolFilter | None, *, limit: int, offset: int, now_us: int
) -> list[Json]:
    """Return the pools that fit, by name."""
    statement = select(work_pools).where(filters.work_pool(wanted)).order_by(_c.name)
    rows = connection.execute(statement.limit(limit).offset(offset)).mappings().all()
    return _all_json(connection, cast("Sequence[Row]", rows), now_us)


def count(connection: Connection, wanted: WorkPoolFilter | None) -> int:
    """Return how many pools fit."""
    where = filters.work_pool(wanted)
    return connection.execute(select(func.count()).select_from(work_pools).where(where)).scalar_one()


def create(connection: Connection, values: Row, *, id: str, queue_id: str, now_us: int) -> bool:
    """Make a pool with its default queue; return whether its name was free."""
    if id_of(connection, values["name"]) is not None:
        return False
    times = {"created_us": now_us, "updated_us": now_us}
    row = {**values, "id": id, "default_queue_id": queue_id, **times}
    connection.execute(insert(work_pools).values(**row))
    work_queues.create(connection, id, {"name": DEFAULT_QUEUE}, id=queue_id, now_us=now_us)
    return True


def change(connection: Connection, name: str, changes: Row, now_us: int) -> bool:
    """Change columns of a pool; return whether there is such a pool."""
    statement = update(work_pools).where(_c.name == name).values(**changes, updated_us=now_us)
    return connection.execute(statement).rowcount > 0


def delete(connection: Connection, name: str) -> bool:
    """Delete a pool with its queues and workers; return whether there was one.

    Its deployments stay, without a queue; its runs that have not ended belong to no queue any more.
    """
    found = locks.hold_to_delete(connection, work_pools, _c.name == name)
    for id in found:
        work_queues.let_go(connection, work_queues.ids_of(connection, id))
        locks.remove(connection, workers, workers.c.work_pool_id == id)
        connection.execute(sql_delete(work_pools).where(_c.id == id))
    return bool(found)


def _all_json(connection: Connection, rows: Sequence[Row], now_us: int) -> list[Json]:
    ids = [row["id"] for row in rows]
    alive = select(workers.c.work_pool_id).where(workers.c.work_pool_id.in_(ids), filters.online(now_us))
    ready = set(connection.execute(alive.distinct()).scalars()) if ids else set()
    active = slots.of_pools(connection, ids)
    return [to_json(row, ready=row["id"] in ready, active_slots=active.get(row["id"], 0)) for row in rows]
