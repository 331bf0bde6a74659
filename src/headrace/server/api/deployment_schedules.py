"""Schedules of deployments over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.server.store import deployments, planning, schedules
from headrace.wire.shapes.schedules import (
    DeploymentSchedule,
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
)

from .answers import Json, no_content, not_found
from .body import StrictRoute
from .context import Context, context
from .deployments import schedule_columns

router = APIRouter(prefix="/deployments/{id:uuid}/schedules", tags=["Deployments"], route_class=StrictRoute)


@router.get("", response_model=list[DeploymentSchedule])
def read_deployment_schedules(request: Request, id: UUID) -> Response:
    """List the schedules of a deployment."""
    with context(request).database.read() as connection:
        if deployments.get(connection, str(id), 0) is None:
            raise not_found("Deployment")
        return Json(schedules.of(connection, [str(id)]).get(str(id), []))


@router.post("", status_code=201, response_model=list[DeploymentSchedule])
def create_deployment_schedules(request: Request, id: UUID, body: list[DeploymentScheduleCreate]) -> Response:
    """Add schedules to a deployment; one that ``replaces`` another changes that one."""
    at = context(request)
    made = at.database.write(lambda connection: _add(connection, at, str(id), body))
    at.replan()
    return Json(made, 201)


def _add(
    connection: Connection, at: Context, id: str, wanted: list[DeploymentScheduleCreate]
) -> list[dict[str, Any]]:
    if deployments.lock(connection, id) is None:
        raise not_found("Deployment")
    made = [_add_one(connection, at, id, one) for one in wanted]
    planning.drop_planned(connection, id, made)  # what those that were replaced have planned
    found = {schedule["id"]: schedule for schedule in schedules.of(connection, [id]).get(id, [])}
    return [found[one] for one in made]


def _add_one(connection: Connection, at: Context, id: str, wanted: DeploymentScheduleCreate) -> str:
    """Write one schedule; return its id."""
    now_us, known = at.now_us(), schedules.slugs(connection, id)
    columns = schedule_columns(wanted, now_us)
    replaced = known.get(columns.pop("replaces", None) or "")
    _refuse_taken(wanted.slug, known, replaced)
    if replaced is not None:
        schedules.change(connection, id, replaced, columns, now_us)
        return replaced
    made = at.new_id()
    schedules.create(connection, id, {"active": True, **columns}, id=made, now_us=now_us)
    return made


def _refuse_taken(slug: str | None, known: dict[str, str], own: str | None) -> None:
    if slug in known and known[slug] != own:
        raise HTTPException(
            409, f"The deployment has a schedule with the slug {slug!r}; say `replaces` to change that one."
        )


@router.patch("/{schedule_id:uuid}", status_code=204)
def update_deployment_schedule(
    request: Request, id: UUID, schedule_id: UUID, body: DeploymentScheduleUpdate
) -> Response:
    """Change a schedule; absent fields are left alone, ``null`` clears."""
    at = context(request)
    columns = schedule_columns(body, at.now_us())
    columns.pop("replaces", None)

    def work(connection: Connection) -> bool:
        if deployments.lock(connection, str(id)) is None:
            raise not_found("Deployment")
        _refuse_taken(body.slug, schedules.slugs(connection, str(id)), str(schedule_id))
        if not schedules.change(connection, str(id), str(schedule_id), columns, at.now_us()):
            return False
        planning.drop_planned(connection, str(id), [str(schedule_id)])
        return True

    if not at.database.write(work):
        raise not_found("Schedule")
    at.replan()
    return no_content()


@router.delete("/{schedule_id:uuid}", status_code=204)
def delete_deployment_schedule(request: Request, id: UUID, schedule_id: UUID) -> Response:
    """Delete a schedule; what it planned goes."""

    def work(connection: Connection) -> bool:
        known = deployments.lock(connection, str(id)) is not None
        if not known or not schedules.delete(connection, str(id), str(schedule_id)):
            return False
        planning.drop_planned(connection, str(id), [str(schedule_id)])
        return True

    if not context(request).database.write(work):
        raise not_found("Schedule")
    return no_content()
