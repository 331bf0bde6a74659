"""Task runs over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.model.clock import from_datetime
from headrace.server.orchestration.proposals import first_state, propose_task_run
from headrace.server.orchestration.rules import Proposal
from headrace.server.store import deletion, flow_runs, task_runs
from headrace.server.store.filters import Scope
from headrace.wire.shapes.states import OrchestrationResult, SetState
from headrace.wire.shapes.task_runs import (
    TaskRun,
    TaskRunCount,
    TaskRunCreate,
    TaskRunPaginate,
    TaskRunPaginationResponse,
    TaskRunQuery,
    TaskRunUpdate,
)

from . import listing
from .answers import Json, no_content, not_found
from .body import StrictRoute
from .context import Context, context
from .states import answer, proposal_of

router = APIRouter(prefix="/task_runs", tags=["Task Runs"], route_class=StrictRoute)

_PENDING = Proposal("PENDING", "Pending")


def scope_of(query: TaskRunCount) -> Scope:
    """Return the filters of a request."""
    return Scope(query.flows, query.flow_runs, query.task_runs, query.deployments)


@router.post("/", response_model=TaskRun, responses={201: {"model": TaskRun}})
def create_task_run(request: Request, body: TaskRunCreate) -> Response:
    """Make a task run, or return the one of this flow run, task key and dynamic key."""
    at = context(request)
    run, made = at.database.write(lambda connection: _create(connection, at, body))
    return Json(run, 201 if made else 200)


def _create(connection: Connection, at: Context, body: TaskRunCreate) -> tuple[dict[str, Any], bool]:
    now_us = at.now_us()
    known = _known(connection, body, now_us)
    if known is not None:
        return known, False
    flow_run_id = None if body.flow_run_id is None else str(body.flow_run_id)
    if flow_run_id is not None and flow_runs.row_of(connection, flow_run_id) is None:
        raise HTTPException(409, f"Flow run {flow_run_id} not found; create it before its task runs.")
    row = _new_row(body, flow_run_id, at.ids.new(now_us), now_us)
    proposal = proposal_of(body.state) if body.state is not None else _PENDING
    columns = first_state(row, proposal, is_flow=False, now_us=now_us, id=at.new_id())
    task_runs.create(connection, {**row, **columns})
    made = task_runs.get(connection, row["id"], now_us)
    assert made is not None
    return made, True


def _known(connection: Connection, body: TaskRunCreate, now_us: int) -> dict[str, Any] | None:
    known = task_runs.get(connection, str(body.id), now_us) if body.id is not None else None
    if known is None and body.flow_run_id is not None:
        return task_runs.by_keys(connection, str(body.flow_run_id), body.task_key, body.dynamic_key, now_us)
    return known


def _new_row(body: TaskRunCreate, flow_run_id: str | None, new_id: str, now_us: int) -> dict[str, Any]:
    expires = body.cache_expiration
    return {
        "id": str(body.id) if body.id is not None else new_id,
        "flow_run_id": flow_run_id,
        "task_key": body.task_key,
        "dynamic_key": body.dynamic_key,
        "name": body.name or f"{body.task_key.rsplit('.', 1)[-1]}-{body.dynamic_key[:8]}",
        "created_us": now_us,
        "task_version": body.task_version,
        "cache_key": body.cache_key,
        "cache_expiration_us": None if expires is None else from_datetime(expires),
        "task_inputs": {
            name: [each.model_dump(mode="json") for each in values]
            for name, values in body.task_inputs.items()
        }
        or None,
        "empirical_policy": body.empirical_policy.model_dump(mode="json", exclude_defaults=True) or None,
        "tags": list(dict.fromkeys(body.tags)) or None,
        "labels": body.labels or None,
    }


@router.post("/filter", response_model=list[TaskRun])
def read_task_runs(request: Request, body: TaskRunQuery | None = None) -> Response:
    """List task runs."""
    query = body or TaskRunQuery()
    return listing.some(context(request), task_runs, scope_of(query), query)


@router.post("/count", response_model=int)
def count_task_runs(request: Request, body: TaskRunCount | None = None) -> Response:
    """Count task runs."""
    return listing.count(context(request), task_runs, scope_of(body or TaskRunCount()))


@router.post("/paginate", response_model=TaskRunPaginationResponse)
def paginate_task_runs(request: Request, body: TaskRunPaginate | None = None) -> Response:
    """List a page of task runs."""
    query = body or TaskRunPaginate()
    return listing.one_page(context(request), task_runs, scope_of(query), query)


@router.get("/{id:uuid}", response_model=TaskRun)
def read_task_run(request: Request, id: UUID) -> Response:
    """Return a task run with its history of states."""
    at = context(request)
    with at.database.read() as connection:
        run = task_runs.get(connection, str(id), at.now_us(), history=True)
    if run is None:
        raise not_found("Task run")
    return Json(run)


@router.patch("/{id:uuid}", status_code=204)
def update_task_run(request: Request, id: UUID, body: TaskRunUpdate) -> Response:
    """Rename a task run."""

    def work(connection: Connection) -> bool:
        if body.name is None:
            return task_runs.row_of(connection, str(id)) is not None
        return task_runs.change(connection, str(id), {"name": body.name})

    if not context(request).database.write(work):
        raise not_found("Task run")
    return no_content()


@router.delete("/{id:uuid}", status_code=204)
def delete_task_run(request: Request, id: UUID) -> Response:
    """Delete a task run with its logs."""
    if not context(request).database.write(lambda connection: deletion.delete_task_run(connection, str(id))):
        raise not_found("Task run")
    return no_content()


@router.post(
    "/{id:uuid}/set_state",
    response_model=OrchestrationResult,
    responses={201: {"model": OrchestrationResult}},
)
def set_task_run_state(request: Request, id: UUID, body: SetState) -> Response:
    """Propose a state for a task run."""
    at = context(request)
    proposal = proposal_of(body.state, force=body.force)
    outcome = at.database.write(
        lambda connection: propose_task_run(
            connection, str(id), proposal, now_us=at.now_us(), new_id=at.new_id
        )
    )
    if outcome is None:
        return Json({"exception_message": f"Task run with id {id} not found"}, 404)
    return answer(outcome)
