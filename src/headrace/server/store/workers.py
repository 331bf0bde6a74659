"""Workers: who carries out the runs of a pool, and when each was last heard of."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import select
from sqlalchemy.engine import Connection, RowMapping

from headrace.model.clock import iso
from headrace.wire.filters import WorkerFilter

from . import filters, readiness
from .tables import workers

Json = dict[str, Any]
_c = workers.c


def to_json(row: RowMapping, now_us: int) -> Json:
    """Return the contract's object of a row."""
    beat_us, interval_s = row["last_heartbeat_us"], row["heartbeat_interval_s"]
    online = readiness.worker_is_online(beat_us, interval_s, now_us)
    return {
        "id": row["id"],
        "created": iso(row["created_us"]),
        "updated": iso(beat_us),
        "name": row["name"],
        "work_pool_id": row["work_pool_id"],
        "last_heartbeat_time": iso(beat_us),
        "heartbeat_interval_seconds": interval_s,
        "status": "ONLINE" if online else "OFFLINE",
    }


def saw(
    connection: Connection,
    kind: ModuleType,
    pool_id: str,
    name: str,
    *,
    id: str,
    interval_s: int | None,
    now_us: int,
) -> None:
    """Note a worker's sign of life, making its row (with ``id``) at the first. One statement."""
    now = {"last_heartbeat_us": now_us, "heartbeat_interval_s": interval_s}
    row = {"id": id, "work_pool_id": pool_id, "name": name, "created_us": now_us, **now}
    statement = kind.upsert(workers).values(**row)
    connection.execute(statement.on_conflict_do_update(index_elements=[_c.work_pool_id, _c.name], set_=now))


def find(
    connection: Connection, pool_id: str, wanted: WorkerFilter | None, *, limit: int, offset: int, now_us: int
) -> list[Json]:
    """Return the workers of a pool that fit, the last heard of first."""
    statement = select(workers).where(_c.work_pool_id == pool_id, filters.worker(wanted, now_us))
    ordered = statement.order_by(_c.last_heartbeat_us.desc(), _c.name).limit(limit).offset(offset)
    return [to_json(row, now_us) for row in connection.execute(ordered).mappings()]


def delete(connection: Connection, pool_id: str, name: str) -> bool:
    """Forget a worker; return whether there was one. One that lives comes back with its next sign of life."""
    statement = sql_delete(workers).where(_c.work_pool_id == pool_id, _c.name == name)
    return connection.execute(statement).rowcount > 0
