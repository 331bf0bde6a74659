"""What was said to a flow run while it ran, under keys."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from headrace.model.clock import iso

from .tables import flow_run_inputs

Json = dict[str, Any]
_c = flow_run_inputs.c


def create(
    connection: Connection,
    flow_run_id: str,
    *,
    id: str,
    key: str,
    value: str,
    sender: str | None,
    now_us: int,
) -> bool:
    """Keep a value under a key; return whether the key was free."""
    if get(connection, flow_run_id, key) is not None:
        return False
    connection.execute(
        insert(flow_run_inputs).values(
            id=id, flow_run_id=flow_run_id, key=key, value=value, sender=sender, created_us=now_us
        )
    )
    return True


def put(connection: Connection, flow_run_id: str, key: str, value: str, *, id: str, now_us: int) -> None:
    """Keep a value under a key, in the place of what was kept there."""
    delete(connection, flow_run_id, key)
    create(connection, flow_run_id, id=id, key=key, value=value, sender=None, now_us=now_us)


def get(connection: Connection, flow_run_id: str, key: str) -> str | None:
    """Return the value under a key, or ``None``."""
    where = (_c.flow_run_id == flow_run_id, _c.key == key)
    return connection.execute(select(_c.value).where(*where)).scalar()


def find(
    connection: Connection, flow_run_id: str, *, prefix: str, exclude: list[str], limit: int
) -> list[Json]:
    """Return what was said under keys that begin with ``prefix``, oldest first."""
    rows = connection.execute(
        select(flow_run_inputs)
        .where(
            _c.flow_run_id == flow_run_id, _c.key.startswith(prefix, autoescape=True), _c.key.not_in(exclude)
        )
        .order_by(_c.created_us, _c.key)
        .limit(limit)
    ).mappings()
    return [
        {
            "id": row["id"],
            "created": iso(row["created_us"]),
            "updated": iso(row["created_us"]),
            "flow_run_id": row["flow_run_id"],
            "key": row["key"],
            "value": row["value"],
            "sender": row["sender"],
        }
        for row in rows
    ]


def delete(connection: Connection, flow_run_id: str, key: str) -> bool:
    """Forget a key; return whether it was there."""
    where = (_c.flow_run_id == flow_run_id, _c.key == key)
    return connection.execute(sql_delete(flow_run_inputs).where(*where)).rowcount > 0
