"""Automations over HTTP, as far as deploying asks for them: there are none yet."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from .answers import Json
from .body import StrictRoute

router = APIRouter(prefix="/automations", tags=["Automations"], route_class=StrictRoute)


@router.delete("/owned-by/{resource_id}", status_code=202)
def delete_automations_owned_by_resource(resource_id: str) -> Response:  # noqa: ARG001  # nothing has any
    """Delete the automations of a resource: it has none."""
    return Json(None, 202)


@router.get("/related-to/{resource_id}")
def read_automations_related_to_resource(resource_id: str) -> Response:  # noqa: ARG001  # nothing has any
    """List the automations that name a resource: none do."""
    return Json([])
