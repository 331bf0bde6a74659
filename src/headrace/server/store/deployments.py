"""Deployments: flows with all that is needed to run them elsewhere, by flow and name."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.engine import Connection

from headrace.model.attempts import Brake
from headrace.model.clock import iso

from . import deletion, locks, readiness, run_json, schedules, slots
from .filters import Matcher, Scope, deployment_order
from .tables import deployment_schedules, deployments, flow_runs, flows, work_pools, work_queues

Json = dict[str, Any]
Row = Mapping[str, Any]
_c = deployments.c
_r = flow_runs.c

_PLAIN = (
    "id", "name", "version", "description", "flow_id", "paused", "concurrency_options", "work_queue_id",
    "work_queue_name", "work_pool_name", "parameter_openapi_schema", "path", "pull_steps", "entrypoint",
    "storage_document_id", "infrastructure_document_id", "enforce_parameter_schema",
)  # fmt: skip
_placed = (
    select(
        deployments,
        work_queues.c.name.label("work_queue_name"),
        work_pools.c.name.label("work_pool_name"),
        work_queues.c.last_polled_us.label("queue_polled_us"),
    )
    .outerjoin(work_queues, work_queues.c.id == _c.work_queue_id)
    .outerjoin(work_pools, work_pools.c.id == work_queues.c.work_pool_id)
)
"""Rows with the names of their places; one join for each by its primary key."""


def to_json(row: Row, planned: list[Json], active_slots: int, now_us: int) -> Json:
    """Return the contract's object of a row of :data:`_placed`; ``planned`` are its schedules."""
    polled_us = max(
        (us for us in (row["last_polled_us"], row["queue_polled_us"]) if us is not None), default=None
    )
    return {
        **{name: row[name] for name in _PLAIN},
        "created": iso(row["created_us"]),
        "updated": iso(row["updated_us"]),
        "concurrency_limit": None,
        "global_concurrency_limit": _limit(row, active_slots),
        "schedules": planned,
        "job_variables": row["job_variables"] or {},
        "parameters": row["parameters"] or {},
        "tags": row["tags"] or [],
        "labels": row["labels"] or {},
        "last_polled": run_json.moment(polled_us),
        "created_by": None,
        "updated_by": None,
        "crash_brake": row["crash_brake"] or Brake()._asdict(),
        "pause_reason": row["pause_reason"],
        "status": "READY" if readiness.is_polled(polled_us, now_us) else "NOT_READY",
    }


def _limit(row: Row, active_slots: int) -> Json | None:
    """Return a deployment's limit as the contract shows limits; its id follows from the deployment's."""
    if row["concurrency_limit"] is None:
        return None
    return {
        "id": str(uuid.uuid5(uuid.UUID(row["id"]), "concurrency-limit")),
        "created": iso(row["created_us"]),
        "updated": iso(row["updated_us"]),
        "active": True,
        "name": f"deployment:{row['id']}",
        "limit": row["concurrency_limit"],
        "active_slots": active_slots,
        "slot_decay_per_second": 0.0,
    }


def lock(connection: Connection, id: str) -> Row | None:
    """Return a deployment's row and keep others from writing it until the transaction ends."""
    statement = locks.held(deployments, select(deployments).where(_c.id == id))
    return cast("Row | None", connection.execute(statement).mappings().first())


def get(connection: Connection, id: str, now_us: int) -> Json | None:
    """Return a deployment by its id, or ``None``."""
    rows = connection.execute(_one_placed, {"wanted": id}).mappings().all()
    return _all_json(connection, cast("Sequence[Row]", rows), now_us)[0] if rows else None


_one_placed = _placed.where(_c.id == bindparam("wanted"))


def id_of(connection: Connection, flow_id: str, name: str) -> str | None:
    """Return the id of a flow's deployment of this name, or ``None``."""
    return connection.execute(select(_c.id).where(_c.flow_id == flow_id, _c.name == name)).scalar()


def queue_id(connection: Connection, id: str) -> str | None:
    """Return the id of the queue that a deployment's runs are given to; ``None`` without one."""
    return connection.execute(select(_c.work_queue_id).where(_c.id == id)).scalar()


def by_name(connection: Connection, flow_name: str, name: str, now_us: int) -> Json | None:
    """Return a deployment by the names of its flow and its own, or ``None``."""
    of_flow = select(flows.c.id).where(flows.c.name == flow_name).scalar_subquery()
    rows = connection.execute(_placed.where(_c.flow_id == of_flow, _c.name == name)).mappings().all()
    return _all_json(connection, cast("Sequence[Row]", rows), now_us)[0] if rows else None


def find(
    connection: Connection, scope: Scope, *, sort: str, limit: int, offset: int, now_us: int
) -> list[Json]:
    """Return the deployments that fit, in order."""
    statement = _placed.where(Matcher(connection.dialect.name).deployments(scope))
    ordered = statement.order_by(*deployment_order(sort)).limit(limit).offset(offset)
    rows = connection.execute(ordered).mappings().all()
    return _all_json(connection, cast("Sequence[Row]", rows), now_us)


def count(connection: Connection, scope: Scope) -> int:
    """Return how many deployments fit."""
    where = Matcher(connection.dialect.name).deployments(scope)
    return connection.execute(select(func.count()).select_from(deployments).where(where)).scalar_one()


def ids(connection: Connection, scope: Scope, limit: int) -> list[str]:
    """Return the ids of the deployments that fit, by name."""
    where = Matcher(connection.dialect.name).deployments(scope)
    ordered = select(_c.id).where(where).order_by(*deployment_order("NAME_ASC"))
    return list(connection.execute(ordered.limit(limit)).scalars())


def create(connection: Connection, values: Row, *, id: str, now_us: int) -> None:
    """Insert a deployment."""
    row = {**values, "id": id, "created_us": now_us, "updated_us": now_us}
    connection.execute(insert(deployments).values(**row))


def change(connection: Connection, id: str, changes: Row, now_us: int) -> bool:
    """Change columns of a deployment; return whether there is such a deployment."""
    statement = update(deployments).where(_c.id == id).values(**changes, updated_us=now_us)
    return connection.execute(statement).rowcount > 0


def delete(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Delete deployments with their schedules and their runs that never began; return which there were.

    Runs that began stay, and keep their deployment's id.
    """
    known = locks.hold_to_delete(connection, deployments, _c.id.in_(ids))
    locks.hold_to_delete(connection, deployment_schedules, deployment_schedules.c.deployment_id.in_(known))
    waiting = (_r.deployment_id.in_(known), _r.state_type == "SCHEDULED", _r.start_us.is_(None))
    deletion.delete_flow_runs(connection, locks.hold_to_delete(connection, flow_runs, *waiting))
    connection.execute(sql_delete(deployments).where(_c.id.in_(known)))
    return [id for id in ids if id in set(known)]


def _all_json(connection: Connection, rows: Sequence[Row], now_us: int) -> list[Json]:
    planned = schedules.of(connection, [row["id"] for row in rows])
    limited = [row["id"] for row in rows if row["concurrency_limit"] is not None]
    active = slots.of_deployments(connection, limited)
    return [to_json(row, planned.get(row["id"], []), active.get(row["id"], 0), now_us) for row in rows]
