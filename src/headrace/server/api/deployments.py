"""Deployments over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.model import schedules as rules
from headrace.model.clock import to_datetime
from headrace.server.orchestration.job_variables import misfit
from headrace.server.orchestration.parameters import misfits, schema_problem
from headrace.server.store import deployments, flows, places, planning, schedules
from headrace.server.store.filters import Scope
from headrace.wire.shapes.deployments import (
    DeploymentBulkDelete,
    DeploymentBulkDeleteResponse,
    DeploymentCount,
    DeploymentCreate,
    DeploymentPaginate,
    DeploymentPaginationResponse,
    DeploymentQuery,
    DeploymentResponse,
    DeploymentUpdate,
)
from headrace.wire.shapes.schedules import DeploymentScheduleCreate, DeploymentScheduleUpdate

from . import listing, new_runs
from .answers import Json, no_content, not_found
from .body import StrictRoute, unfit
from .context import Context, context

router = APIRouter(prefix="/deployments", tags=["Deployments"], route_class=StrictRoute)

Row = dict[str, Any]

_PLAIN = {
    "version", "description", "paused", "concurrency_limit", "concurrency_options", "enforce_parameter_schema",
    "parameter_openapi_schema", "parameters", "pull_steps", "storage_document_id", "infrastructure_document_id",
    "path", "entrypoint", "job_variables",
}  # fmt: skip
_FRESH: Row = {
    "enforce_parameter_schema": True,
    "parameter_openapi_schema": None,
    "parameters": None,
    "work_queue_id": None,
    "job_variables": None,
}


def scope_of(query: DeploymentCount) -> Scope:
    """Return the filters of a request."""
    return Scope(
        query.flows,
        query.flow_runs,
        query.task_runs,
        query.deployments,
        query.work_pools,
        query.work_pool_queues,
    )


@router.post("/", response_model=DeploymentResponse, responses={201: {"model": DeploymentResponse}})
def create_deployment(request: Request, body: DeploymentCreate) -> Response:
    """Make a deployment, or change the one of this flow and name in what the request names."""
    at = context(request)
    deployment, made = at.database.write(lambda connection: _put(connection, at, body))
    at.replan()
    return Json(deployment, 201 if made else 200)


def _put(connection: Connection, at: Context, body: DeploymentCreate) -> tuple[Row, bool]:
    now_us, flow_id = at.now_us(), str(body.flow_id)
    flow = flows.get(connection, flow_id)
    if flow is None:
        raise HTTPException(409, f"Flow {flow_id} not found; create it before its deployments.")
    id = deployments.id_of(connection, flow_id, body.name)
    placed = _placed(connection, at, body, id)
    known = deployments.lock(connection, id) if id is not None else None
    changes = _columns(connection, body, placed, known or _FRESH)
    if body.labels is not None or known is None:
        changes["labels"] = {**flow["labels"], "prefect.flow.id": flow_id, **(body.labels or {})}
    if known is None:
        id = at.new_id()
        row = {"paused": body.paused, **changes, "flow_id": flow_id, "name": body.name}
        deployments.create(connection, row, id=id, now_us=now_us)
    else:
        id = known["id"]
        deployments.change(connection, id, changes, now_us)
    _plan(connection, at, id, body, changes, known)
    deployment = deployments.get(connection, id, now_us)
    assert deployment is not None
    return deployment, known is None


def _columns(
    connection: Connection, body: DeploymentCreate | DeploymentUpdate, placed: Row, known: Any
) -> Row:
    """Return the columns that a request changes of a deployment; ``placed`` are those of its place.

    Raises:
        HTTPException: 404, for a limit that is not there.
        RequestValidationError: the schema or the parameters cannot be taken.
    """
    said = body.model_fields_set
    changes = body.model_dump(mode="json", exclude_unset=True, include=_PLAIN)
    if changes.get("enforce_parameter_schema", False) is None:
        del changes["enforce_parameter_schema"]
    if body.version_info is not None and body.version is None:
        changes["version"] = body.version_info.version
    if body.crash_brake is not None:
        changes["crash_brake"] = body.crash_brake.model_dump(mode="json")
    if body.concurrency_options is not None:
        changes["concurrency_options"] = body.concurrency_options.model_dump(mode="json")
    if "tags" in said:
        changes["tags"] = new_runs.unique(body.tags)
    if body.global_concurrency_limit_id is not None:
        raise not_found(f"Global concurrency limit {body.global_concurrency_limit_id}")
    changes |= placed
    _check({**known, **changes})
    if changes.keys() & {"work_queue_id", "job_variables"}:
        _check_job(connection, {**known, **changes})
    return changes


def _placed(
    connection: Connection, at: Context, body: DeploymentCreate | DeploymentUpdate, id: str | None
) -> Row:
    """Return the columns that a request changes of a deployment's place; pools and queues are locked before it.

    Raises:
        HTTPException: 404, for a pool that is not there.
    """
    if not body.model_fields_set & {"work_pool_name", "work_queue_name"}:
        return {}
    known = deployments.queue_id(connection, id) if id is not None else None
    return {"work_queue_id": _queue_id(connection, at, body, known)}


def _queue_id(
    connection: Connection, at: Context, body: DeploymentCreate | DeploymentUpdate, known: str | None
) -> str | None:
    pool, queue = body.work_pool_name, body.work_queue_name
    if pool is None and queue is None:
        return None
    if "work_pool_name" not in body.model_fields_set and known is not None:
        place = places.of_queue(connection, known)
        pool = place.work_pool_name if place is not None else None
    found = places.find(connection, pool, queue, new_id=at.new_id, now_us=at.now_us())
    if found is None:
        raise not_found(f"Work pool {pool!r}")
    return found.work_queue_id


def _check(row: Row) -> None:
    """Refuse a schema that is none, and parameters that do not fit it."""
    schema = row["parameter_openapi_schema"]
    if not schema or not row["enforce_parameter_schema"]:
        return
    problem = schema_problem(schema)
    if problem is not None:
        raise unfit(("parameter_openapi_schema",), f"This is no JSON schema: {problem}")
    wrong = misfits(schema, row["parameters"] or {}, partly=True)
    if wrong:
        raise unfit(("parameters",), "; ".join(wrong), row["parameters"])


def _check_job(connection: Connection, row: Row) -> None:
    """Refuse job variables that no worker of the deployment's pool could use."""
    pool = places.pool_of_queue(connection, row["work_queue_id"]) if row["work_queue_id"] else None
    why = misfit(*pool, row["job_variables"] or {}) if pool is not None else None
    if why is not None:
        raise unfit(("job_variables",), why)


_OF_RUNS = ("parameters", "tags", "labels", "version", "work_queue_id")
"""What a run takes over from its deployment when it is planned."""


def _plan(
    connection: Connection,
    at: Context,
    id: str,
    body: DeploymentCreate | DeploymentUpdate,
    changes: Row,
    known: Any,
) -> None:
    """Write the schedules that a request names; what was planned goes if it would be planned otherwise now."""
    changed: set[str] = set()
    if "schedules" in body.model_fields_set:
        changed = _put_schedules(connection, at, id, body.schedules)
    if known is None:
        return
    others = any((changes[name] or None) != (known[name] or None) for name in _OF_RUNS if name in changes)
    if others or changes.get("paused", known["paused"]) != known["paused"]:
        schedules.restart(connection, id, at.now_us())
        planning.drop_planned(connection, id)
    elif changed:
        planning.drop_planned(connection, id, changed)


def _put_schedules(
    connection: Connection,
    at: Context,
    id: str,
    wanted: list[DeploymentScheduleCreate] | list[DeploymentScheduleUpdate],
) -> set[str]:
    """Make a deployment's schedules those that are wanted; return the ids of those that changed or went."""
    slugs = [one.slug for one in wanted if one.slug is not None]
    twice = next((slug for slug in slugs if slugs.count(slug) > 1), None)
    if twice is not None:
        raise unfit(("schedules",), f"Two schedules have the slug {twice!r}; each needs its own.")
    rows = [schedule_columns(one, at.now_us()) for one in wanted]
    try:
        return schedules.put(connection, id, rows, new_id=at.new_id, now_us=at.now_us())
    except KeyError as error:
        raise unfit(("schedules",), "A schedule that is not there yet has to say its `schedule`.") from error


def schedule_columns(one: DeploymentScheduleCreate | DeploymentScheduleUpdate, now_us: int) -> Row:
    """Return the columns that a request says of a schedule, and ``replaces``."""
    columns = one.model_dump(mode="json", exclude_unset=True, exclude={"schedule"})
    if columns.get("active", True) is None:
        del columns["active"]
    if one.schedule is not None:
        columns["schedule"] = rules.to_json(one.schedule.read(to_datetime(now_us)))
    return columns


@router.post("/filter", response_model=list[DeploymentResponse])
def read_deployments(request: Request, body: DeploymentQuery | None = None) -> Response:
    """List deployments."""
    query = body or DeploymentQuery()
    return listing.some(context(request), deployments, scope_of(query), query)


@router.post("/count", response_model=int)
def count_deployments(request: Request, body: DeploymentCount | None = None) -> Response:
    """Count deployments."""
    return listing.count(context(request), deployments, scope_of(body or DeploymentCount()))


@router.post("/paginate", response_model=DeploymentPaginationResponse)
def paginate_deployments(request: Request, body: DeploymentPaginate | None = None) -> Response:
    """List a page of deployments."""
    query = body or DeploymentPaginate()
    return listing.one_page(context(request), deployments, scope_of(query), query)


@router.post("/bulk_delete", response_model=DeploymentBulkDeleteResponse)
def bulk_delete_deployments(request: Request, body: DeploymentBulkDelete | None = None) -> Response:
    """Delete deployments with their schedules and their runs that never began."""
    query = body or DeploymentBulkDelete()

    def work(connection: Connection) -> list[str]:
        found = deployments.ids(connection, Scope(deployments=query.deployments), query.limit)
        return deployments.delete(connection, found)

    return Json({"deleted": context(request).database.write(work)})


@router.get("/name/{flow_name}/{deployment_name}", response_model=DeploymentResponse)
def read_deployment_by_name(request: Request, flow_name: str, deployment_name: str) -> Response:
    """Return the deployment of these names."""
    at = context(request)
    with at.database.read() as connection:
        deployment = deployments.by_name(connection, flow_name, deployment_name, at.now_us())
    if deployment is None:
        raise not_found("Deployment")
    return Json(deployment)


@router.get("/{id:uuid}", response_model=DeploymentResponse)
def read_deployment(request: Request, id: UUID) -> Response:
    """Return a deployment."""
    at = context(request)
    with at.database.read() as connection:
        deployment = deployments.get(connection, str(id), at.now_us())
    if deployment is None:
        raise not_found("Deployment")
    return Json(deployment)


@router.patch("/{id:uuid}", status_code=204)
def update_deployment(request: Request, id: UUID, body: DeploymentUpdate) -> Response:
    """Change a deployment; absent fields are left alone, ``null`` clears."""
    at = context(request)

    def work(connection: Connection) -> bool:
        placed = _placed(connection, at, body, str(id))
        known = deployments.lock(connection, str(id))
        if known is None:
            return False
        changes = _columns(connection, body, placed, known)
        if changes.get("paused") is False:
            changes["pause_reason"] = None
        deployments.change(connection, str(id), changes, at.now_us())
        _plan(connection, at, str(id), body, changes, known)
        return True

    if not at.database.write(work):
        raise not_found("Deployment")
    at.openings.ring_all()  # it may have another limit
    at.replan()
    return no_content()


@router.delete("/{id:uuid}", status_code=204)
def delete_deployment(request: Request, id: UUID) -> Response:
    """Delete a deployment with its schedules and its runs that never began."""
    if not context(request).database.write(lambda connection: deployments.delete(connection, [str(id)])):
        raise not_found("Deployment")
    return no_content()


@router.post("/{id:uuid}/pause_deployment")
def pause_deployment(request: Request, id: UUID) -> Response:
    """Plan no more runs of a deployment's schedules; those that were planned go."""
    return _set_paused(context(request), str(id), True)


@router.post("/{id:uuid}/resume_deployment")
def resume_deployment(request: Request, id: UUID) -> Response:
    """Plan runs of a deployment's schedules again."""
    return _set_paused(context(request), str(id), False)


def _set_paused(at: Context, id: str, paused: bool) -> Response:
    def work(connection: Connection) -> bool:
        before = deployments.lock(connection, id)
        if before is None:
            return False
        deployments.change(connection, id, {"paused": paused, "pause_reason": None}, at.now_us())
        if before["paused"] != paused:
            schedules.restart(connection, id, at.now_us())
            planning.drop_planned(connection, id)
        return True

    if not at.database.write(work):
        raise not_found("Deployment")
    at.replan()
    return Json(None)
