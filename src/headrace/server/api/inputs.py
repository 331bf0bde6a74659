"""What is said to a flow run while it runs, over HTTP."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.engine import Connection
from starlette.responses import PlainTextResponse, Response

from headrace.server.store import flow_runs, inputs
from headrace.wire.shapes.flow_runs import FlowRunInput, FlowRunInputCreate, FlowRunInputQuery

from .answers import Json, no_content, not_found, page_size
from .body import StrictRoute
from .context import context

router = APIRouter(prefix="/flow_runs/{id:uuid}/input", tags=["Flow Runs"], route_class=StrictRoute)


@router.post("", status_code=201)
def create_flow_run_input(request: Request, id: UUID, body: FlowRunInputCreate) -> Response:
    """Keep a value for a run under a key."""
    at = context(request)
    now_us = at.now_us()

    def work(connection: Connection) -> bool:
        if flow_runs.row_of(connection, str(id)) is None:
            raise not_found("Flow run")
        return inputs.create(
            connection,
            str(id),
            id=at.ids.new(now_us),
            key=body.key,
            value=body.value,
            sender=body.sender,
            now_us=now_us,
        )

    if not at.database.write(work):
        raise HTTPException(409, f"A flow run input with the key {body.key!r} already exists.")
    return Json(None, 201)


@router.post("/filter", response_model=list[FlowRunInput])
def filter_flow_run_input(request: Request, id: UUID, body: FlowRunInputQuery) -> Response:
    """List what was said under keys that begin alike."""
    limit = page_size(body.limit)
    with context(request).database.read() as connection:
        found = inputs.find(connection, str(id), prefix=body.prefix, exclude=body.exclude_keys, limit=limit)
    return Json(found)


@router.get("/{key}")
def read_flow_run_input(request: Request, id: UUID, key: str) -> Response:
    """Return the value under a key, bare."""
    with context(request).database.read() as connection:
        value = inputs.get(connection, str(id), key)
    if value is None:
        raise not_found("Flow run input")
    return PlainTextResponse(value)


@router.delete("/{key}", status_code=204)
def delete_flow_run_input(request: Request, id: UUID, key: str) -> Response:
    """Forget a key."""
    if not context(request).database.write(lambda connection: inputs.delete(connection, str(id), key)):
        raise not_found("Flow run input")
    return no_content()
