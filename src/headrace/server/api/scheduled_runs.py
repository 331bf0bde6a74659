"""Planned runs over HTTP, for workers of the contract: what they could begin now, or soon.

To ask writes nothing but that somebody asked. A worker begins a run by proposing that it be Pending: then the
limits decide (``orchestration/rules.py``), so two workers that were offered the same run are one too many.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Header, Request
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.model.clock import from_datetime
from headrace.server.store import claims, deployments, flow_runs, serving, work_queues
from headrace.wire.shapes.flow_runs import FlowRunResponse
from headrace.wire.shapes.scheduled_runs import (
    ScheduledRunsOfDeployments,
    ScheduledRunsOfPool,
    ScheduledRunsOfQueue,
    WorkerFlowRunResponse,
)
from headrace.wire.shapes.work_queues import WorkQueue

from .answers import Json, not_found, page_size
from .body import StrictRoute
from .context import Context, context
from .work_pools import no_pool

router = APIRouter(tags=["Scheduled Runs"], route_class=StrictRoute)

Thing = dict[str, Any]

_Ask = Callable[[Connection], "serving.Asker"]
"""Works out who asks; raises 404 for what is not there."""


class _Wanted(NamedTuple):
    limit: int
    window: serving.Window
    counts: bool = True
    """Whether it is a worker that asks, and not somebody who only looks."""


@router.post("/work_pools/{name}/get_scheduled_flow_runs", response_model=list[WorkerFlowRunResponse])
def get_scheduled_flow_runs(request: Request, name: str, body: ScheduledRunsOfPool | None = None) -> Response:
    """List the runs of a pool that a worker could begin, those of its first queue first.

    ``scheduled_before`` may lie ahead; without it all planned runs are listed. No queue named means all queues.
    """
    query = body or ScheduledRunsOfPool()
    queues = tuple(query.work_queue_names) if query.work_queue_names else None

    def asker(connection: Connection) -> serving.Asker:
        pool_id = claims.pool_of(connection, name)
        if pool_id is None:
            raise no_pool(name)
        return _asker(query, pool_id=pool_id, queues=queues)

    runs = _offered(context(request), asker, _wanted(query, query.scheduled_after))
    places = ("work_pool_id", "work_queue_id")
    return Json([{**{place: run[place] for place in places}, "flow_run": run} for run in runs])


@router.post("/deployments/get_scheduled_flow_runs", response_model=list[FlowRunResponse])
def get_scheduled_flow_runs_for_deployments(request: Request, body: ScheduledRunsOfDeployments) -> Response:
    """List the runs of deployments that the process that serves them could begin, the first planned first."""
    asker = _asker(body, served=tuple(map(str, body.deployment_ids)))
    return Json(_offered(context(request), lambda _connection: asker, _wanted(body)))


@router.post("/work_queues/{id:uuid}/get_runs", response_model=list[FlowRunResponse])
def read_work_queue_runs(
    request: Request,
    id: UUID,
    body: ScheduledRunsOfQueue | None = None,
    x_prefect_ui: Annotated[bool | None, Header()] = False,
) -> Response:
    """List the runs of a queue that a worker could begin; a page that shows them says so by ``x-prefect-ui``."""
    query, at = body or ScheduledRunsOfQueue(), context(request)

    def asker(connection: Connection) -> serving.Asker:
        queue = work_queues.get(connection, str(id), at.now_us())
        if queue is None:
            raise not_found("Work queue")
        return _asker(query, pool_id=queue["work_pool_id"], queues=(queue["name"],))

    return Json(_offered(at, asker, _wanted(query)._replace(counts=not x_prefect_ui)))


@router.get("/deployments/{id:uuid}/work_queue_check", response_model=list[WorkQueue])
def work_queue_check_for_deployment(request: Request, id: UUID) -> Response:
    """List the work queues that serve a deployment: its own one, or none."""
    at = context(request)
    with at.database.read() as connection:
        deployment = deployments.get(connection, str(id), at.now_us())
        if deployment is None:
            raise not_found("Deployment")
        queue_id = deployment["work_queue_id"]
        queue = work_queues.get(connection, queue_id, at.now_us()) if queue_id is not None else None
    return Json([queue] if queue is not None else [])


def _asker(
    query: ScheduledRunsOfQueue,
    *,
    pool_id: str | None = None,
    queues: tuple[str, ...] | None = None,
    served: tuple[str, ...] = (),
) -> serving.Asker:
    return serving.Asker("", "", pool_id, queues, served, page_size(query.limit))


def _wanted(query: ScheduledRunsOfQueue, after: datetime | None = None) -> _Wanted:
    window = serving.Window()
    if query.scheduled_before is not None:
        window = window._replace(before_us=from_datetime(query.scheduled_before))
    if after is not None:
        window = window._replace(after_us=from_datetime(after))
    return _Wanted(page_size(query.limit), window)


def _offered(at: Context, ask: _Ask, wanted: _Wanted) -> list[Thing]:
    now_us = at.now_us()
    with at.database.read() as connection:
        offer = claims.offer(connection, ask(connection), wanted.window, now_us)
        runs = flow_runs.in_order(connection, offer.runs[: wanted.limit], now_us)
    # a worker of the contract tells its name by its heartbeats, not here
    if wanted.counts and at.roll_call.note(None, "", offer.places, now_us):
        at.roll_call.tick()
    return runs
