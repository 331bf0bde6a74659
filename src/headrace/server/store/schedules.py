"""Schedules of deployments: when their runs are to be planned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.engine import Connection, RowMapping

from headrace.model.clock import iso

from . import locks, turns
from .tables import deployment_schedules

Json = dict[str, Any]
Row = Mapping[str, Any]
_c = deployment_schedules.c


def to_json(row: RowMapping) -> Json:
    """Return the contract's object of a row."""
    plain = ("id", "deployment_id", "schedule", "active", "max_scheduled_runs", "slug")
    return {
        **{name: row[name] for name in plain},
        "created": iso(row["created_us"]),
        "updated": iso(row["updated_us"]),
        "parameters": row["parameters"] or {},
    }


def of(connection: Connection, deployments: Collection[str]) -> dict[str, list[Json]]:
    """Return ``{deployment id: its schedules, the newest first}``; a deployment without any is not there."""
    found: dict[str, list[Json]] = {}
    if deployments:
        for row in connection.execute(_of, {"deployments": list(deployments)}).mappings():
            found.setdefault(row["deployment_id"], []).append(to_json(row))
    return found


_of = (
    select(deployment_schedules)
    .where(_c.deployment_id.in_(bindparam("deployments", expanding=True)))
    .order_by(_c.created_us.desc(), _c.id.desc())
)


def slugs(connection: Connection, deployment_id: str) -> dict[str, str]:
    """Return ``{slug: id}`` of a deployment's schedules that have one."""
    statement = select(_c.slug, _c.id).where(_c.deployment_id == deployment_id, _c.slug.is_not(None))
    return {row.slug: row.id for row in connection.execute(statement)}


def create(connection: Connection, deployment_id: str, values: Row, *, id: str, now_us: int) -> None:
    """Make a schedule of a deployment that the transaction holds or made; its times are planned from now on."""
    times = {"created_us": now_us, "updated_us": now_us, "planned_until_us": now_us}
    row = {**values, "id": id, "deployment_id": deployment_id, **times}
    connection.execute(insert(deployment_schedules).values(**row), execution_options=_MEETING_NONE)


_MEETING_NONE = {
    locks.SAID: turns.of_insert(deployment_schedules, meets=False)
}  # whose slugs are its deployment's


def change(connection: Connection, deployment_id: str, id: str, changes: Row, now_us: int) -> bool:
    """Change columns of a schedule, whose times are planned anew; return whether the deployment has it.

    What it has planned is for the caller to drop (``planning.drop_planned``).
    """
    statement = update(deployment_schedules).where(_c.deployment_id == deployment_id, _c.id == id)
    values = {**changes, "updated_us": now_us, "planned_until_us": now_us}
    return connection.execute(statement.values(**values)).rowcount > 0


def restart(connection: Connection, deployment_id: str, now_us: int) -> None:
    """Plan the times of all schedules of a deployment anew from now on: it was changed, or is not paused any more."""
    locks.hold(connection, deployment_schedules, _c.deployment_id == deployment_id)
    statement = update(deployment_schedules).where(_c.deployment_id == deployment_id)
    connection.execute(statement.values(planned_until_us=now_us))


def delete(connection: Connection, deployment_id: str, id: str) -> bool:
    """Delete a schedule; return whether the deployment had it."""
    statement = sql_delete(deployment_schedules).where(_c.deployment_id == deployment_id, _c.id == id)
    return connection.execute(statement).rowcount > 0


def put(
    connection: Connection,
    deployment_id: str,
    wanted: Sequence[Row],
    *,
    new_id: Callable[[], str],
    now_us: int,
) -> set[str]:
    """Make the schedules of a deployment that the transaction holds, or has just made, those that are wanted.

    Returns the ids of those that changed or went.

    One whose ``replaces`` or ``slug`` names a schedule that is there changes that one, which keeps its id; so does
    one without a name whose times are those of another without.

    Raises:
        KeyError: it names none, and says no ``schedule`` either.
    """
    of_deployment = select(deployment_schedules).where(_c.deployment_id == deployment_id)
    known = {row["id"]: dict(row) for row in connection.execute(of_deployment).mappings()}
    if known:
        locks.hold_to_delete(connection, deployment_schedules, _c.deployment_id == deployment_id)
    kept, changed = set(), set()
    for one in wanted:
        values = {name: value for name, value in one.items() if name != "replaces"}
        id = _meant({id: row for id, row in known.items() if id not in kept}, one)
        if id is None:
            id = new_id()
            if values.get("schedule") is None:
                raise KeyError("schedule")
            create(connection, deployment_id, {"active": True, **values}, id=id, now_us=now_us)
        elif any(known[id][name] != value for name, value in values.items()):
            change(connection, deployment_id, id, values, now_us)
            changed.add(id)
        kept.add(id)
    gone = known.keys() - kept
    if gone:
        connection.execute(sql_delete(deployment_schedules).where(_c.id.in_(gone)))
    return changed | gone


def _meant(known: Mapping[str, Row], wanted: Row) -> str | None:
    """Return the schedule that a request means, ``None`` for a new one."""
    by_slug = {row["slug"]: id for id, row in known.items() if row["slug"] is not None}
    named = by_slug.get(wanted.get("replaces") or "") or by_slug.get(wanted.get("slug") or "")
    if named is not None or wanted.get("slug") is not None:
        return named
    rule = wanted.get("schedule")
    return next((id for id, row in known.items() if row["slug"] is None and row["schedule"] == rule), None)
