"""Flows: the functions that have been run, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.engine import Connection, RowMapping

from headrace.model.clock import iso

from .filters import Matcher, Scope, flow_order
from .tables import flows

Json = dict[str, Any]


def to_json(row: RowMapping) -> Json:
    """Return the contract's object of a row."""
    return {
        "id": row["id"],
        "created": iso(row["created_us"]),
        "updated": iso(row["updated_us"]),
        "name": row["name"],
        "tags": row["tags"] or [],
        "labels": row["labels"] or {},
    }


def create_or_fetch(
    connection: Connection,
    *,
    id: str,
    name: str,
    tags: list[str],
    labels: Mapping[str, Any] | None,
    now_us: int,
) -> tuple[Json, bool]:
    """Return the flow of this name, and whether it had to be made (with ``id``)."""
    known = by_name(connection, name)
    if known is not None:
        return known, False
    values = {"id": id, "name": name, "tags": tags or None, "labels": labels or None}
    connection.execute(insert(flows).values(**values, created_us=now_us, updated_us=now_us))
    made = get(connection, id)
    assert made is not None
    return made, True


def get(connection: Connection, id: str) -> Json | None:
    """Return a flow by its id, or ``None``."""
    row = connection.execute(select(flows).where(flows.c.id == id)).mappings().first()
    return None if row is None else to_json(row)


def by_name(connection: Connection, name: str) -> Json | None:
    """Return a flow by its name, or ``None``."""
    row = connection.execute(select(flows).where(flows.c.name == name)).mappings().first()
    return None if row is None else to_json(row)


def names(connection: Connection, ids: set[str]) -> dict[str, str]:
    """Return ``{flow id: name}``."""
    if not ids:
        return {}
    return {row.id: row.name for row in connection.execute(_names, {"ids": sorted(ids)})}


_names = select(flows.c.id, flows.c.name).where(flows.c.id.in_(bindparam("ids", expanding=True)))


def find(connection: Connection, scope: Scope, *, sort: str, limit: int, offset: int) -> list[Json]:
    """Return the flows that fit, in order."""
    where = Matcher(connection.dialect.name).flows(scope)
    rows = connection.execute(
        select(flows).where(where).order_by(*flow_order(sort)).limit(limit).offset(offset)
    ).mappings()
    return [to_json(row) for row in rows]


def count(connection: Connection, scope: Scope) -> int:
    """Return how many flows fit."""
    where = Matcher(connection.dialect.name).flows(scope)
    return connection.execute(select(func.count()).select_from(flows).where(where)).scalar_one()


def change(connection: Connection, id: str, changes: Mapping[str, Any], now_us: int) -> bool:
    """Change columns of a flow; return whether there is such a flow."""
    result = connection.execute(update(flows).where(flows.c.id == id).values(**changes, updated_us=now_us))
    return result.rowcount > 0
