"""Work queues over HTTP: under the name of their pool, and by their own id."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.model.clock import from_datetime
from headrace.server.store import places, readiness, work_pools, work_queues
from headrace.wire.shapes.work_queues import (
    WorkQueueCreate,
    WorkQueueHealthPolicy,
    WorkQueueQuery,
    WorkQueueResponse,
    WorkQueueStatusDetail,
    WorkQueueUpdate,
)

from .answers import Json, no_content, not_found, page_size
from .body import StrictRoute
from .context import Context, context
from .work_pools import no_pool

router = APIRouter(tags=["Work Queues"], route_class=StrictRoute)

_POOL = "/work_pools/{work_pool_name}/queues"
_HEALTHY = WorkQueueHealthPolicy()


@router.post(_POOL, status_code=201, response_model=WorkQueueResponse)
def create_work_queue_of_pool(request: Request, work_pool_name: str, body: WorkQueueCreate) -> Response:
    """Make a work queue of a pool: the last of it, or in place of the one of its ``priority``, which moves back."""
    return _create(context(request), work_pool_name, body)


@router.post("/work_queues/", status_code=201, response_model=WorkQueueResponse)
def create_work_queue(request: Request, body: WorkQueueCreate) -> Response:
    """Make a work queue of the pool ``default-agent-pool``, which is made, too, if it has to be."""
    at = context(request)
    now_us = at.now_us()
    at.database.write(
        lambda connection: places.ensure_agent_pool(connection, new_id=at.new_id, now_us=now_us)
    )
    return _create(at, places.AGENT_POOL, body)


def _create(at: Context, pool_name: str, body: WorkQueueCreate) -> Response:
    now_us, id = at.now_us(), at.new_id()
    values = body.model_dump(mode="json")

    def work(connection: Connection) -> dict[str, Any] | None:
        pool = work_pools.lock(connection, pool_name)
        if pool is None:
            raise no_pool(pool_name)
        if not work_queues.create(connection, pool["id"], values, id=id, now_us=now_us):
            return None
        return work_queues.get(connection, id, now_us)

    made = at.database.write(work)
    if made is None:
        raise _taken(body.name)
    return Json(made, 201)


def _taken(name: str) -> HTTPException:
    return HTTPException(409, f"A work queue with the name {name!r} already exists in this pool.")


@router.post(_POOL + "/filter", response_model=list[WorkQueueResponse])
def read_work_queues_of_pool(
    request: Request, work_pool_name: str, body: WorkQueueQuery | None = None
) -> Response:
    """List the work queues of a pool, the first to be served first."""
    at = context(request)
    with at.database.read() as connection:
        pool_id = work_pools.id_of(connection, work_pool_name)
        if pool_id is None:
            raise no_pool(work_pool_name)
        return _list(connection, at, body or WorkQueueQuery(), pool_id)


@router.post("/work_queues/filter", response_model=list[WorkQueueResponse])
def read_work_queues(request: Request, body: WorkQueueQuery | None = None) -> Response:
    """List work queues of all pools by name."""
    at = context(request)
    with at.database.read() as connection:
        return _list(connection, at, body or WorkQueueQuery(), None)


def _list(connection: Connection, at: Context, query: WorkQueueQuery, pool_id: str | None) -> Response:
    found = work_queues.find(
        connection,
        query.work_queues,
        pool_id=pool_id,
        limit=page_size(query.limit),
        offset=query.offset,
        now_us=at.now_us(),
    )
    return Json(found)


@router.get(_POOL + "/{name}", response_model=WorkQueueResponse)
def read_work_queue_of_pool(request: Request, work_pool_name: str, name: str) -> Response:
    """Return the work queue of this name in a pool."""
    return _read(context(request), _named(context(request), work_pool_name, name))


@router.get("/work_queues/name/{name}", response_model=WorkQueueResponse)
def read_work_queue_by_name(request: Request, name: str) -> Response:
    """Return the work queue of this name in the pool ``default-agent-pool``."""
    return _read(context(request), _named(context(request), places.AGENT_POOL, name))


@router.get("/work_queues/{id:uuid}", response_model=WorkQueueResponse)
def read_work_queue(request: Request, id: UUID) -> Response:
    """Return a work queue."""
    return _read(context(request), str(id))


@router.get("/work_queues/{id:uuid}/status", response_model=WorkQueueStatusDetail)
def read_work_queue_status(request: Request, id: UUID) -> Response:
    """Say whether runs of a queue are asked for, and how many are late."""
    at = context(request)
    now_us = at.now_us()
    with at.database.read() as connection:
        queue = work_queues.get(connection, str(id), now_us)
        if queue is None:
            raise not_found("Work queue")
        late = work_queues.late(connection, str(id))
        polled = readiness.is_polled(work_queues.last_polled_us(connection, str(id)), now_us)
    detail = {
        "healthy": polled and late <= (_HEALTHY.maximum_late_runs or 0),
        "late_runs_count": late,
        "last_polled": queue["last_polled"],
        "health_check_policy": _HEALTHY.model_dump(),
    }
    return Json(detail)


@router.patch(_POOL + "/{name}", status_code=204)
def update_work_queue_of_pool(
    request: Request, work_pool_name: str, name: str, body: WorkQueueUpdate
) -> Response:
    """Change the work queue of this name in a pool."""
    return _change(context(request), _named(context(request), work_pool_name, name), body)


@router.patch("/work_queues/{id:uuid}", status_code=204)
def update_work_queue(request: Request, id: UUID, body: WorkQueueUpdate) -> Response:
    """Change a work queue; absent fields are left alone, ``null`` clears."""
    return _change(context(request), str(id), body)


def _change(at: Context, id: str, body: WorkQueueUpdate) -> Response:
    changes = body.model_dump(mode="json", exclude_unset=True, exclude={"last_polled"})
    for name in ("name", "priority"):
        if changes.get(name, "") is None:
            del changes[name]  # a queue has them; to clear them means nothing
    if body.filter is not None:
        changes["filter"] = body.filter.model_dump(mode="json")
    if "last_polled" in body.model_fields_set:
        changes["last_polled_us"] = None if body.last_polled is None else from_datetime(body.last_polled)

    def work(connection: Connection) -> bool:
        if "name" in changes and not work_queues.is_free(connection, id, changes["name"]):
            raise _taken(changes["name"])
        return work_queues.change(connection, id, changes, at.now_us())

    if not at.database.write(work):
        raise not_found("Work queue")
    at.openings.ring(id)  # it may be resumed, or have another limit
    return no_content()


@router.delete(_POOL + "/{name}", status_code=204)
def delete_work_queue_of_pool(request: Request, work_pool_name: str, name: str) -> Response:
    """Delete the work queue of this name in a pool; the pool's default queue stays."""
    return _delete(context(request), _named(context(request), work_pool_name, name))


@router.delete("/work_queues/{id:uuid}", status_code=204)
def delete_work_queue(request: Request, id: UUID) -> Response:
    """Delete a work queue, unless it is its pool's default queue; its deployments stay, without a queue."""
    return _delete(context(request), str(id))


def _delete(at: Context, id: str) -> Response:
    def work(connection: Connection) -> bool:
        if work_queues.is_default(connection, id):
            raise HTTPException(
                409,
                "This is the default queue of its work pool, which it cannot be without. Pause it instead.",
            )
        return work_queues.delete(connection, id)

    if not at.database.write(work):
        raise not_found("Work queue")
    return no_content()


def _named(at: Context, pool_name: str, name: str) -> str:
    with at.database.read() as connection:
        id = work_queues.id_of(connection, pool_name, name)
    if id is None:
        raise not_found(f"Work queue {name!r} of work pool {pool_name!r}")
    return id


def _read(at: Context, id: str) -> Response:
    with at.database.read() as connection:
        queue = work_queues.get(connection, id, at.now_us())
    if queue is None:
        raise not_found("Work queue")
    return Json(queue)
