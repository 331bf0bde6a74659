"""Planning runs of a deployment's schedules by hand, further ahead than the scheduler does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.model import schedules as rules
from headrace.model.clock import from_datetime, to_datetime
from headrace.server.orchestration import deployment_runs
from headrace.server.store import deployments, flow_runs, planning
from headrace.wire.shapes.deployments import DeploymentSchedulePlan

from . import new_runs
from .answers import Json, not_found
from .body import StrictRoute
from .context import Context, context

router = APIRouter(prefix="/deployments/{id:uuid}", tags=["Deployments"], route_class=StrictRoute)

Made = list[tuple[dict[str, Any], str]]
"""Rows of new runs, each with the name of its flow."""

_LEAST, _MOST = 3, 100
_NEAR, _FAR = timedelta(hours=1), timedelta(days=100)


@router.post("/schedule")
def schedule_deployment(request: Request, id: UUID, body: DeploymentSchedulePlan | None = None) -> Response:
    """Plan runs of a deployment's active schedules between two times; a time that is planned already stays once.

    At least ``min_runs`` (3) of each schedule and all up to ``min_time`` seconds (an hour) after the start, at most
    ``max_runs`` (100) of each.
    """
    at, query = context(request), body or DeploymentSchedulePlan()
    made = at.database.write(lambda connection: _plan(connection, at, str(id), query))
    for row, flow_name in made:
        run = flow_runs.to_json({**planning.BLANK, **row}, flow_name, at.now_us())
        new_runs.publish(at, run, None)
    return Json(None)


def _plan(connection: Connection, at: Context, id: str, query: DeploymentSchedulePlan) -> Made:
    if deployments.lock(connection, id) is None:
        raise not_found("Deployment")
    rows, now_us = planning.lock(connection, planning.of_deployment(connection, id)), at.now_us()
    runs = [
        run
        for row in rows
        for run in deployment_runs.planned(row, _times(row, query, to_datetime(now_us)), now_us, at.ids)
    ]
    new = planning.insert_new(connection, at.database.kind, runs)
    return [(run, rows[0]["flow_name"]) for run in new]


def _times(row: planning.Row, query: DeploymentSchedulePlan, now: datetime) -> list[datetime]:
    """Return the times of a schedule that a request wants planned."""
    start, end = _moment(query.start_time) or now, _moment(query.end_time) or now + _FAR
    near = start + (timedelta(seconds=query.min_time) if query.min_time is not None else _NEAR)
    least = query.min_runs if query.min_runs is not None else _LEAST
    most = min(query.max_runs if query.max_runs is not None else _MOST, row["max_scheduled_runs"] or _MOST)
    found = rules.between(rules.parse(row["schedule"]), start, end, most)
    return [time for number, time in enumerate(found) if number < least or time <= near]


def _moment(time: datetime | None) -> datetime | None:
    """Return an aware time; without a zone it is UTC."""
    return None if time is None else to_datetime(from_datetime(time))
