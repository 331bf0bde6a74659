"""Runs of deployments over HTTP: what a deployment says, under what the request says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from pydantic import Field
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.model.clock import iso
from headrace.server.orchestration.deployment_runs import of_deployment
from headrace.server.orchestration.job_variables import misfit
from headrace.server.orchestration.parameters import misfits
from headrace.server.orchestration.rules import Proposal
from headrace.server.store import deployments, flow_runs, places
from headrace.wire.shapes.deployments import DeploymentFlowRunCreate, FlowRunBulkCreateResponse
from headrace.wire.shapes.flow_runs import FlowRunResponse

from . import new_runs
from .answers import LIMIT, Json, not_found
from .body import StrictRoute
from .context import Context, context

router = APIRouter(prefix="/deployments/{id:uuid}", tags=["Deployments"], route_class=StrictRoute)

Run = dict[str, Any]
_TOGETHER = 50
"""Runs that are made in one transaction: past it a commit costs little beside them, and others wait for SQLite's writer."""

Many = Annotated[list[DeploymentFlowRunCreate], Field(max_length=LIMIT)]


@router.post("/create_flow_run", response_model=FlowRunResponse, responses={201: {"model": FlowRunResponse}})
def create_flow_run_from_deployment(request: Request, id: UUID, body: DeploymentFlowRunCreate) -> Response:
    """Make a run of a deployment, due now unless a state says otherwise, or return the one of this key."""
    run, made = _make(context(request), str(id), body)
    return Json(run, 201 if made else 200)


@router.post("/create_flow_run/bulk", response_model=FlowRunBulkCreateResponse)
def bulk_create_flow_runs_from_deployment(request: Request, id: UUID, body: Many) -> Response:
    """Make runs of a deployment; one that cannot be made does not hold up the others."""
    at, results = context(request), list[Run]()
    for plain, group in groupby(body, key=_is_plain):
        some = list(group)
        results += _make_plain(at, str(id), some) if plain else [_result(at, str(id), one) for one in some]
    return Json({"results": results})


def _result(at: Context, id: str, body: DeploymentFlowRunCreate) -> Run:
    try:
        run, _ = _make(at, id, body)
    except HTTPException as error:
        if error.status_code == 404:  # the deployment itself
            raise
        return _told(error)
    return _told(run)


def _told(outcome: Run | HTTPException) -> Run:
    if isinstance(outcome, HTTPException):
        return {"flow_run_id": None, "status": "FAILED", "error": outcome.detail}
    return {"flow_run_id": outcome["id"], "status": "CREATED", "error": None}


def _is_plain(body: DeploymentFlowRunCreate) -> bool:
    """Say whether making a run takes no row but its own: several may then be made in one transaction."""
    return body.idempotency_key is None and body.work_queue_name is None and body.parent_task_run_id is None


def _make_plain(at: Context, id: str, bodies: Sequence[DeploymentFlowRunCreate]) -> list[Run]:
    """Make plain runs by some statements for many of them; return what became of each."""
    results: list[Run] = []
    for start in range(0, len(bodies), _TOGETHER):
        some = bodies[start : start + _TOGETHER]
        outcomes = at.database.write(partial(_create_plain, at=at, id=id, bodies=some))
        new_runs.publish_all(at, [(one, None) for one in outcomes if not isinstance(one, HTTPException)])
        results += map(_told, outcomes)
    return results


def _create_plain(
    connection: Connection, *, at: Context, id: str, bodies: Sequence[DeploymentFlowRunCreate]
) -> list[Run | HTTPException]:
    """Return the run that was made of each body, or why none was."""
    now_us = at.now_us()
    deployment = _deployment(connection, id, now_us)
    place = _place(connection, at, deployment, None, now_us)

    def row(body: DeploymentFlowRunCreate, when_us: int) -> Run | HTTPException:
        try:
            own = _row(connection, at, deployment, place, body, when_us)
            return new_runs.with_state(at, own, body, _due(when_us))
        except HTTPException as error:
            return error

    # Each a microsecond after the one before: in the order in which they are asked for they are given to workers.
    rows = [row(body, when_us) for when_us, body in enumerate(bodies, start=now_us - len(bodies) + 1)]
    made = iter(
        new_runs.insert_all(connection, at, [one for one in rows if not isinstance(one, HTTPException)])
    )
    return [one if isinstance(one, HTTPException) else next(made) for one in rows]


def _make(at: Context, id: str, body: DeploymentFlowRunCreate) -> tuple[Run, bool]:
    run, made = at.database.write(lambda connection: _create(connection, at, id, body))
    if made:
        new_runs.publish(at, run, None)
    return run, made


def _create(connection: Connection, at: Context, id: str, body: DeploymentFlowRunCreate) -> tuple[Run, bool]:
    now_us = at.now_us()
    deployment = _deployment(connection, id, now_us)
    if body.idempotency_key is not None:
        flow_id = deployment["flow_id"]
        known = flow_runs.by_idempotency_key(connection, flow_id, body.idempotency_key, now_us)
        if known is not None:
            return known, False
    place = _place(connection, at, deployment, body.work_queue_name, now_us)
    row = _row(connection, at, deployment, place, body, now_us)
    return new_runs.insert(connection, at, row, body, _due(now_us)), True


def _deployment(connection: Connection, id: str, now_us: int) -> Run:
    found = deployments.get(connection, id, now_us)
    if found is None:
        raise not_found("Deployment")
    return found


def _due(now_us: int) -> Proposal:
    return Proposal("SCHEDULED", "Scheduled", details={"scheduled_time": iso(now_us)})


def _row(
    connection: Connection,
    at: Context,
    deployment: Run,
    place: places.Place | None,
    body: DeploymentFlowRunCreate,
    now_us: int,
) -> Run:
    """Return the columns of a run but its state's; HTTP's error when its parameters or job variables do not fit."""
    _refuse_misfits(
        deployment, {**deployment["parameters"], **body.parameters}, body.enforce_parameter_schema
    )
    if body.job_variables:
        _refuse_job(connection, deployment, body.job_variables)
    own = of_deployment(
        deployment, parameters=body.parameters, tags=body.tags, labels=body.labels, place=place
    )
    return {**new_runs.new_row(body, deployment["flow_id"], at.ids.new(now_us), now_us), **own}


def _refuse_misfits(deployment: Run, parameters: Run, asked: bool | None) -> None:
    schema = deployment["parameter_openapi_schema"]
    enforced = deployment["enforce_parameter_schema"] if asked is None else asked
    wrong = misfits(schema, parameters) if schema and enforced else []
    if wrong:
        # the first words are the contract's: clients look for them
        raise HTTPException(
            409, f"Error creating flow run: Validation failed for parameters: {'; '.join(wrong)}"
        )


def _refuse_job(connection: Connection, deployment: Run, variables: Run) -> None:
    queue = deployment["work_queue_id"]
    pool = places.pool_of_queue(connection, queue) if queue is not None else None
    why = misfit(*pool, deployment["job_variables"], variables) if pool is not None else None
    if why is not None:
        raise HTTPException(422, f"Error creating flow run: Validation failed for job variables: {why}")


def _place(
    connection: Connection, at: Context, deployment: Run, queue_name: str | None, now_us: int
) -> places.Place | None:
    """Return where a run belongs: where its deployment does, or in the queue it names."""
    if queue_name is not None:
        pool = deployment["work_pool_name"]
        return places.find(connection, pool, queue_name, new_id=at.new_id, now_us=now_us)
    if deployment["work_queue_id"] is not None:
        return places.of_queue(connection, deployment["work_queue_id"])
    return None
