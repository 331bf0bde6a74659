"""Work pools over HTTP."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.server.orchestration.job_variables import template_misfit
from headrace.server.store import work_pools
from headrace.wire.shapes.work_pools import (
    WorkPoolCount,
    WorkPoolCreate,
    WorkPoolQuery,
    WorkPoolResponse,
    WorkPoolUpdate,
)

from .answers import Json, no_content, not_found, page_size
from .body import StrictRoute, unfit
from .context import context

router = APIRouter(prefix="/work_pools", tags=["Work Pools"], route_class=StrictRoute)

RESERVED = "prefect"
"""Names that begin so belong to the contract's own services; clients expect 403 for them."""


def refuse_reserved(name: str) -> None:
    """Raise 403 for a name that nobody may have or change."""
    if name.lower().startswith(RESERVED):
        raise HTTPException(
            403, f"Work pool names that begin with {RESERVED!r} are reserved; choose another name."
        )


def _refuse_template(type: str, template: dict[str, Any] | None) -> None:
    why = template_misfit(type, template) if template else None
    if why is not None:
        raise unfit(("base_job_template",), why)


@router.post("/", status_code=201, response_model=WorkPoolResponse)
def create_work_pool(request: Request, body: WorkPoolCreate) -> Response:
    """Make a work pool with its default queue."""
    refuse_reserved(body.name)
    at = context(request)
    now_us, id, queue_id = at.now_us(), at.new_id(), at.new_id()
    values = body.model_dump(mode="json")
    _refuse_template(body.type, values["base_job_template"])
    made = at.database.write(
        lambda connection: (
            work_pools.create(connection, values, id=id, queue_id=queue_id, now_us=now_us)
            and work_pools.get(connection, body.name, now_us)
        )
    )
    if not made:
        raise HTTPException(409, f"A work pool with the name {body.name!r} already exists.")
    return Json(made, 201)


@router.post("/filter", response_model=list[WorkPoolResponse])
def read_work_pools(request: Request, body: WorkPoolQuery | None = None) -> Response:
    """List work pools by name."""
    query, at = body or WorkPoolQuery(), context(request)
    limit = page_size(query.limit)
    with at.database.read() as connection:
        found = work_pools.find(
            connection, query.work_pools, limit=limit, offset=query.offset, now_us=at.now_us()
        )
    return Json(found)


@router.post("/count", response_model=int)
def count_work_pools(request: Request, body: WorkPoolCount | None = None) -> Response:
    """Count work pools."""
    query = body or WorkPoolCount()
    with context(request).database.read() as connection:
        return Json(work_pools.count(connection, query.work_pools))


@router.get("/{name}", response_model=WorkPoolResponse)
def read_work_pool(request: Request, name: str) -> Response:
    """Return the work pool of this name."""
    at = context(request)
    with at.database.read() as connection:
        pool = work_pools.get(connection, name, at.now_us())
    if pool is None:
        raise no_pool(name)
    return Json(pool)


@router.patch("/{name}", status_code=204)
def update_work_pool(request: Request, name: str, body: WorkPoolUpdate) -> Response:
    """Change a work pool; absent fields are left alone, ``null`` clears."""
    refuse_reserved(name)
    at = context(request)
    changes: dict[str, Any] = body.model_dump(mode="json", exclude_unset=True)
    if changes.get("is_paused", False) is None:
        del changes["is_paused"]  # it is paused or it is not; to clear that means nothing

    def work(connection: Connection) -> bool:
        pool = work_pools.lock(connection, name)
        if pool is not None:
            _refuse_template(pool["type"], changes.get("base_job_template"))
        return work_pools.change(connection, name, changes, at.now_us())

    if not at.database.write(work):
        raise no_pool(name)
    at.openings.ring_all()  # it may be resumed, or have another limit
    return no_content()


@router.delete("/{name}", status_code=204)
def delete_work_pool(request: Request, name: str) -> Response:
    """Delete a work pool with its queues and workers; its deployments stay, without a queue."""
    refuse_reserved(name)
    if not context(request).database.write(lambda connection: work_pools.delete(connection, name)):
        raise no_pool(name)
    return no_content()


def no_pool(name: str) -> HTTPException:
    """Return the error for a pool that is not there."""
    return not_found(f"Work pool {name!r}")
