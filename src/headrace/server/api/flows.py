"""Flows over HTTP."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.server.store import deletion, flows
from headrace.server.store.filters import Scope
from headrace.wire.shapes.flows import (
    Flow,
    FlowBulkDelete,
    FlowBulkDeleteResponse,
    FlowCount,
    FlowCreate,
    FlowPaginate,
    FlowPaginationResponse,
    FlowQuery,
    FlowUpdate,
)

from .answers import Json, no_content, not_found, page, page_size
from .body import StrictRoute
from .context import context

router = APIRouter(prefix="/flows", tags=["Flows"], route_class=StrictRoute)


def scope_of(query: FlowCount) -> Scope:
    """Return the filters of a request."""
    return Scope(query.flows, query.flow_runs, query.task_runs, query.deployments, query.work_pools)


@router.post("/", response_model=Flow, responses={201: {"model": Flow}})
def create_flow(request: Request, body: FlowCreate) -> Response:
    """Make a flow, or return the one of this name."""
    at = context(request)
    now_us = at.now_us()
    flow, made = at.database.write(
        lambda connection: flows.create_or_fetch(
            connection,
            id=at.ids.new(now_us),
            name=body.name,
            tags=body.tags,
            labels=body.labels,
            now_us=now_us,
        )
    )
    return Json(flow, 201 if made else 200)


@router.post("/filter", response_model=list[Flow])
def read_flows(request: Request, body: FlowQuery | None = None) -> Response:
    """List flows."""
    query = body or FlowQuery()
    limit = page_size(query.limit)
    with context(request).database.read() as connection:
        found = flows.find(
            connection, scope_of(query), sort=query.sort.value, limit=limit, offset=query.offset
        )
    return Json(found)


@router.post("/count", response_model=int)
def count_flows(request: Request, body: FlowCount | None = None) -> Response:
    """Count flows."""
    with context(request).database.read() as connection:
        return Json(flows.count(connection, scope_of(body or FlowCount())))


@router.post("/paginate", response_model=FlowPaginationResponse)
def paginate_flows(request: Request, body: FlowPaginate | None = None) -> Response:
    """List a page of flows."""
    query = body or FlowPaginate()
    limit, scope = page_size(query.limit), scope_of(query)
    with context(request).database.read() as connection:
        count = flows.count(connection, scope)
        offset = (query.page - 1) * limit
        found = flows.find(connection, scope, sort=query.sort.value, limit=limit, offset=offset)
    return page(found, count=count, limit=limit, page=query.page)


@router.post("/bulk_delete", response_model=FlowBulkDeleteResponse)
def bulk_delete_flows(request: Request, body: FlowBulkDelete | None = None) -> Response:
    """Delete flows with their runs."""
    query = body or FlowBulkDelete()

    def work(connection: Connection) -> list[str]:
        scope = Scope(query.flows)
        found = flows.find(connection, scope, sort="CREATED_DESC", limit=query.limit, offset=0)
        return deletion.delete_flows(connection, [flow["id"] for flow in found])

    return Json({"deleted": context(request).database.write(work)})


@router.get("/name/{name}", response_model=Flow)
def read_flow_by_name(request: Request, name: str) -> Response:
    """Return the flow of this name."""
    with context(request).database.read() as connection:
        flow = flows.by_name(connection, name)
    if flow is None:
        raise not_found("Flow")
    return Json(flow)


@router.get("/{id:uuid}", response_model=Flow)
def read_flow(request: Request, id: UUID) -> Response:
    """Return a flow."""
    with context(request).database.read() as connection:
        flow = flows.get(connection, str(id))
    if flow is None:
        raise not_found("Flow")
    return Json(flow)


@router.patch("/{id:uuid}", status_code=204)
def update_flow(request: Request, id: UUID, body: FlowUpdate) -> Response:
    """Change a flow's tags."""
    at = context(request)
    changes = body.model_dump(exclude_unset=True)
    if not at.database.write(lambda connection: flows.change(connection, str(id), changes, at.now_us())):
        raise not_found("Flow")
    return no_content()


@router.delete("/{id:uuid}", status_code=204)
def delete_flow(request: Request, id: UUID) -> Response:
    """Delete a flow with its runs."""
    if not context(request).database.write(lambda connection: deletion.delete_flows(connection, [str(id)])):
        raise not_found("Flow")
    return no_content()
