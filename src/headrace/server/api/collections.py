"""Which types of work pool there are, and how their jobs are set up: what `work-pool create` asks."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from headrace.model import jobs

from .answers import Json, not_found
from .body import StrictRoute

router = APIRouter(prefix="/collections", tags=["Collections"], route_class=StrictRoute)

PROCESS: dict[str, Any] = {
    "type": "process",
    "display_name": "Process",
    "description": "Carry out runs as processes of the machine on which a worker is started.",
    "documentation_url": "",
    "install_command": "",
    "is_beta": False,
    "logo_url": "",
    "default_base_job_configuration": jobs.TEMPLATE,
}
"""The type of pool that every installation has."""

VIEWS: dict[str, Any] = {"aggregate-worker-metadata": {"prefect": {"process": PROCESS}}}


@router.get("/views/{view}", response_model=dict[str, Any])
def read_view_content(view: str) -> Response:
    """Return a collection of metadata by its name."""
    if view not in VIEWS:
        raise not_found(f"View {view!r}")
    return Json(VIEWS[view])
