"""Workers of a pool over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, Request
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.server.store import work_pools, workers
from headrace.wire.shapes.workers import WorkerHeartbeat, WorkerQuery, WorkerResponse

from .answers import Json, no_content, not_found, page_size
from .body import StrictRoute
from .context import context
from .work_pools import no_pool

router = APIRouter(
    prefix="/work_pools/{work_pool_name}/workers", tags=["Work Pools"], route_class=StrictRoute
)


@router.post("/heartbeat", status_code=204)
def worker_heartbeat(request: Request, work_pool_name: str, body: WorkerHeartbeat) -> Response:
    """Take a worker's sign of life."""
    at = context(request)

    def work(connection: Connection) -> None:
        workers.saw(
            connection,
            at.database.kind,
            _pool_id(connection, work_pool_name),
            body.name,
            id=at.new_id(),
            interval_s=body.heartbeat_interval_seconds,
            now_us=at.now_us(),
        )

    at.database.write(work)
    return no_content()


@router.post("/filter", response_model=list[WorkerResponse])
def read_workers(request: Request, work_pool_name: str, body: WorkerQuery | None = None) -> Response:
    """List the workers of a pool, the last heard of first."""
    query, at = body or WorkerQuery(), context(request)
    limit = page_size(query.limit)
    with at.database.read() as connection:
        found = workers.find(
            connection,
            _pool_id(connection, work_pool_name),
            query.workers,
            limit=limit,
            offset=query.offset,
            now_us=at.now_us(),
        )
    return Json(found)


@router.delete("/{name}", status_code=204)
def delete_worker(request: Request, work_pool_name: str, name: str) -> Response:
    """Forget a worker; one that lives is there again with its next sign of life."""
    if not context(request).database.write(
        lambda connection: workers.delete(connection, _pool_id(connection, work_pool_name), name)
    ):
        raise not_found(f"Worker {name!r}")
    return no_content()


def _pool_id(connection: Connection, name: str) -> str:
    id = work_pools.id_of(connection, name)
    if id is None:
        raise no_pool(name)
    return id
