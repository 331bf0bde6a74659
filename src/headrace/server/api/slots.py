"""Slots over HTTP: how many of a pool or a queue are held, and by which runs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from sqlalchemy.engine import Connection, RowMapping
from starlette.responses import Response

from headrace.server.store import run_json, slots, work_pools, work_queues
from headrace.wire.shapes.slots import (
    PoolSlotsQuery,
    QueueSlotsQuery,
    WorkPoolConcurrencyStatus,
    WorkQueueConcurrencyStatus,
)

from .answers import Json, not_found, page_size
from .body import StrictRoute
from .context import context
from .work_pools import no_pool

router = APIRouter(tags=["Work Pools"], route_class=StrictRoute)

Thing = dict[str, Any]


@router.post("/work_pools/{name}/concurrency_status", response_model=WorkPoolConcurrencyStatus)
def read_work_pool_concurrency_status(
    request: Request, name: str, body: PoolSlotsQuery | None = None
) -> Response:
    """Say how many slots of a pool are held, by queue, and by which runs."""
    query, at = body or PoolSlotsQuery(), context(request)
    limit, now_us = page_size(query.limit), at.now_us()
    with at.database.read() as connection:
        pool = work_pools.get(connection, name, now_us)
        if pool is None:
            raise no_pool(name)
        offset, count = (query.page - 1) * limit, len(work_queues.ids_of(connection, pool["id"]))
        queues = work_queues.find(
            connection, None, pool_id=pool["id"], limit=limit, offset=offset, now_us=now_us
        )
        details = _details(connection, queues, query.flow_run_limit, now_us)
    return Json({**_status(pool, count, limit, query.page), "queues": details})


def _details(connection: Connection, queues: list[Thing], limit: int, now_us: int) -> list[Thing]:
    runs: dict[str, list[Thing]] = {queue["id"]: [] for queue in queues}
    for row in slots.holders(connection, runs, limit=limit):
        runs[row["work_queue_id"]].append(_summary(row, now_us))
    return [
        {
            "queue_id": queue["id"],
            "queue_name": queue["name"],
            "active_slots": queue["active_slots"],
            "concurrency_limit": queue["concurrency_limit"],
            "flow_run_count": queue["active_slots"],
            "flow_runs": runs[queue["id"]],
        }
        for queue in queues
    ]


@router.post("/work_queues/{id:uuid}/concurrency_status", response_model=WorkQueueConcurrencyStatus)
def read_work_queue_concurrency_status(
    request: Request, id: UUID, body: QueueSlotsQuery | None = None
) -> Response:
    """Say how many slots of a queue are held, and by which runs."""
    query, at = body or QueueSlotsQuery(), context(request)
    limit, now_us = page_size(query.limit), at.now_us()
    with at.database.read() as connection:
        queue = work_queues.get(connection, str(id), now_us)
        if queue is None:
            raise not_found("Work queue")
        rows = slots.holders(connection, [str(id)], limit=limit, offset=(query.page - 1) * limit)
    runs = [_summary(row, now_us) for row in rows]
    return Json({**_status(queue, queue["active_slots"], limit, query.page), "flow_runs": runs})


def _status(thing: Thing, count: int, limit: int, page: int) -> Thing:
    pages = -(-count // limit) if limit else 0
    limits = {name: thing[name] for name in ("active_slots", "concurrency_limit")}
    return {**limits, "count": count, "limit": limit, "pages": pages, "page": page}


def _summary(row: RowMapping, now_us: int) -> Thing:
    since_us = row["state_us"]
    return {
        **{name: row[name] for name in ("id", "name", "state_type", "state_name")},
        "state_timestamp": run_json.moment(since_us),
        "time_in_current_state": None if since_us is None else max(0, now_us - since_us) / 1e6,
        "start_time": run_json.moment(row["start_us"]),
    }
