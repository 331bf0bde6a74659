"""Flow runs over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.server.orchestration.proposals import Outcome, propose_flow_run
from headrace.server.orchestration.proposals import resume_flow_run as resume
from headrace.server.orchestration.rules import Proposal
from headrace.server.store import deletion, flow_runs, flows, places
from headrace.server.store.filters import Scope
from headrace.wire.shapes.flow_runs import (
    FlowRunBulkDelete,
    FlowRunBulkDeleteResponse,
    FlowRunBulkSetState,
    FlowRunBulkSetStateResponse,
    FlowRunCount,
    FlowRunCreate,
    FlowRunPaginate,
    FlowRunPaginationResponse,
    FlowRunQuery,
    FlowRunResponse,
    FlowRunResume,
    FlowRunUpdate,
)
from headrace.wire.shapes.states import OrchestrationResult, SetState
from headrace.wire.text import Labels

from . import listing, new_runs
from .answers import Json, no_content, not_found
from .body import StrictRoute
from .context import Context, context
from .states import answer, proposal_of

router = APIRouter(prefix="/flow_runs", tags=["Flow Runs"], route_class=StrictRoute)

_PENDING = Proposal("PENDING", "Pending")


def scope_of(query: FlowRunCount) -> Scope:
    """Return the filters of a request."""
    return Scope(
        query.flows,
        query.flow_runs,
        query.task_runs,
        query.deployments,
        query.work_pools,
        query.work_pool_queues,
    )


@router.post("/", response_model=FlowRunResponse, responses={201: {"model": FlowRunResponse}})
def create_flow_run(request: Request, body: FlowRunCreate) -> Response:
    """Make a flow run, or return the one of this idempotency key."""
    at = context(request)
    run, made = at.database.write(lambda connection: _create(connection, at, body))
    if made:
        new_runs.publish(at, run, None)
    return Json(run, 201 if made else 200)


def _create(connection: Connection, at: Context, body: FlowRunCreate) -> tuple[dict[str, Any], bool]:
    now_us, flow_id = at.now_us(), str(body.flow_id)
    if flows.get(connection, flow_id) is None:
        raise HTTPException(409, f"Flow {flow_id} not found; create it before its runs.")
    if body.idempotency_key is not None:
        known = flow_runs.by_idempotency_key(connection, flow_id, body.idempotency_key, now_us)
        if known is not None:
            return known, False
    row = {
        **new_runs.new_row(body, flow_id, at.ids.new(now_us), now_us),
        "flow_version": body.flow_version,
        "deployment_id": str(body.deployment_id) if body.deployment_id is not None else None,
        **_place(connection, at, body, now_us),
    }
    return new_runs.insert(connection, at, row, body, _PENDING), True


def _place(connection: Connection, at: Context, body: FlowRunCreate, now_us: int) -> dict[str, Any]:
    pool, queue = body.work_pool_name, body.work_queue_name
    if pool is None and queue is None:
        return {}
    place = places.find(connection, pool, queue, new_id=at.new_id, now_us=now_us)
    if place is None:
        raise not_found(f"Work pool {pool!r}")
    return place.columns()


@router.post("/filter", response_model=list[FlowRunResponse])
def read_flow_runs(request: Request, body: FlowRunQuery | None = None) -> Response:
    """List flow runs."""
    query = body or FlowRunQuery()
    return listing.some(context(request), flow_runs, scope_of(query), query)


@router.post("/count", response_model=int)
def count_flow_runs(request: Request, body: FlowRunCount | None = None) -> Response:
    """Count flow runs."""
    return listing.count(context(request), flow_runs, scope_of(body or FlowRunCount()))


@router.post("/paginate", response_model=FlowRunPaginationResponse)
def paginate_flow_runs(request: Request, body: FlowRunPaginate | None = None) -> Response:
    """List a page of flow runs."""
    query = body or FlowRunPaginate()
    return listing.one_page(context(request), flow_runs, scope_of(query), query)


@router.post("/bulk_delete", response_model=FlowRunBulkDeleteResponse)
def bulk_delete_flow_runs(request: Request, body: FlowRunBulkDelete | None = None) -> Response:
    """Delete flow runs with all that belongs to them."""
    query = body or FlowRunBulkDelete()

    def work(connection: Connection) -> list[str]:
        found = flow_runs.ids(connection, Scope(flow_runs=query.flow_runs), query.limit)
        deletion.delete_flow_runs(connection, found)
        return found

    return Json({"deleted": context(request).database.write(work)})


@router.post("/bulk_set_state", response_model=FlowRunBulkSetStateResponse)
def bulk_set_flow_run_state(request: Request, body: FlowRunBulkSetState) -> Response:
    """Propose a state for many flow runs."""
    at = context(request)
    with at.database.read() as connection:
        found = flow_runs.ids(connection, Scope(flow_runs=body.flow_runs), body.limit)
    proposal = proposal_of(body.state, force=body.force)
    results = []
    for id in found:
        outcome = _propose(at, id, proposal, who=_who(request))
        if outcome is not None:
            results.append({"flow_run_id": id, **outcome.to_json()})
    return Json({"results": results})


@router.get("/{id:uuid}", response_model=FlowRunResponse)
def read_flow_run(request: Request, id: UUID) -> Response:
    """Return a flow run with its history of states."""
    at = context(request)
    with at.database.read() as connection:
        run = flow_runs.get(connection, str(id), at.now_us(), history=True)
    if run is None:
        raise not_found("Flow run")
    return Json(run)


@router.patch("/{id:uuid}", status_code=204)
def update_flow_run(request: Request, id: UUID, body: FlowRunUpdate) -> Response:
    """Change what may be changed of a flow run; absent fields are left alone."""
    at = context(request)
    changes = body.model_dump(exclude_unset=True)
    if changes.get("name", "") is None:
        del changes["name"]  # a run has a name; to clear it means nothing
    if "empirical_policy" in changes:
        changes["empirical_policy"] = new_runs.policy_of(body.empirical_policy)
    if "tags" in changes:
        changes["tags"] = new_runs.unique(body.tags)
    changes["updated_us"] = at.now_us()
    if not at.database.write(lambda connection: flow_runs.change(connection, str(id), changes)):
        raise not_found("Flow run")
    return no_content()


@router.patch("/{id:uuid}/labels", status_code=204)
def update_flow_run_labels(request: Request, id: UUID, body: Labels) -> Response:
    """Add labels to a flow run; those of the same name are replaced."""
    at = context(request)

    def work(connection: Connection) -> bool:
        row = flow_runs.lock(connection, str(id))
        merged = {**(row["labels"] or {}), **body} if row else {}
        changes = {"labels": merged, "updated_us": at.now_us()}
        return row is not None and flow_runs.change(connection, str(id), changes)

    if not at.database.write(work):
        raise not_found("Flow run")
    return no_content()


@router.delete("/{id:uuid}", status_code=204)
def delete_flow_run(request: Request, id: UUID) -> Response:
    """Delete a flow run with all that belongs to it."""
    deleted = context(request).database.write(
        lambda connection: deletion.delete_flow_runs(connection, [str(id)])
    )
    if not deleted:
        raise not_found("Flow run")
    return no_content()


@router.post(
    "/{id:uuid}/set_state",
    response_model=OrchestrationResult,
    responses={201: {"model": OrchestrationResult}},
)
def set_flow_run_state(request: Request, id: UUID, body: SetState) -> Response:
    """Propose a state for a flow run."""
    proposal = proposal_of(body.state, force=body.force)
    outcome = _propose(context(request), str(id), proposal, who=_who(request))
    if outcome is None:
        return Json({"exception_message": f"Flow run with id {id} not found"}, 404)
    return answer(outcome)


@router.post(
    "/{id:uuid}/resume", response_model=OrchestrationResult, responses={201: {"model": OrchestrationResult}}
)
def resume_flow_run(request: Request, id: UUID, body: FlowRunResume | None = None) -> Response:
    """Let a paused or suspended flow run go on, with what it is told."""
    given = body.run_input if body is not None else None
    outcome = _propose(context(request), str(id), None, who=_who(request), given=given)
    if outcome is None:
        raise not_found("Flow run")
    return answer(outcome)


def _propose(
    at: Context,
    id: str,
    proposal: Proposal | None,
    *,
    who: str | None = None,
    given: dict[str, Any] | None = None,
) -> Outcome | None:
    """Put a proposal to a run, or let it go on (``None``), and tell everybody who waits for its answer."""

    def work(connection: Connection) -> tuple[Outcome | None, dict[str, Any] | None, dict[str, Any] | None]:
        now_us = at.now_us()
        before = flow_runs.get(connection, id, now_us)
        if proposal is None:
            outcome = resume(connection, id, given, now_us=now_us, new_id=at.new_id, who=who)
        else:
            outcome = propose_flow_run(connection, id, proposal, now_us=now_us, new_id=at.new_id, who=who)
        if outcome is None or not outcome.changed:
            return outcome, None, None
        return outcome, flow_runs.get(connection, id, now_us), before

    outcome, after, before = at.database.write(work)
    if outcome is not None and outcome.journal is not None:
        at.bells.ring(outcome.journal)
    if after is not None:
        new_runs.publish(at, after, before["state"] if before else None)
    return outcome


def _who(request: Request) -> str:
    """Return who asks, for the log of the run that is asked: its client and address."""
    agent = request.headers.get("user-agent", "a client")[:100]
    host = request.client.host if request.client is not None else None
    return f"{agent} at {host}" if host else agent
