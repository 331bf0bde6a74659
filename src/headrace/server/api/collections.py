"""Which types of work pool there are, and how their jobs are set up: what `work-pool create` asks."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from .answers import Json, not_found
from .body import StrictRoute

router = APIRouter(prefix="/collections", tags=["Collections"], route_class=StrictRoute)

_VARIABLES: dict[str, dict[str, Any]] = {
    "name": {
        "title": "Name",
        "description": "The name of the process that runs are given; a name is made up when it is left out.",
        "anyOf": [{"type": "string"}, {"type": "null"}],
        "default": None,
    },
    "env": {
        "title": "Environment variables",
        "description": "Environment variables of a run, beside those of its worker.",
        "type": "object",
        "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "labels": {
        "title": "Labels",
        "description": "Labels of what a worker starts for a run.",
        "type": "object",
        "additionalProperties": {"type": "string"},
    },
    "command": {
        "title": "Command",
        "description": "The command that carries out a run, in place of the worker's own.",
        "anyOf": [{"type": "string"}, {"type": "null"}],
        "default": None,
    },
    "working_dir": {
        "title": "Working directory",
        "description": "The folder in which runs are started; each gets a folder of its own when it is left out.",
        "anyOf": [{"type": "string", "format": "path"}, {"type": "null"}],
        "default": None,
    },
    "stream_output": {
        "title": "Stream output",
        "description": "Whether what a run prints is shown by its worker, too.",
        "type": "boolean",
        "default": True,
    },
}
"""What a pool or a deployment may set of a process; an empty value leaves it to the worker."""

PROCESS: dict[str, Any] = {
    "type": "process",
    "display_name": "Process",
    "description": "Carry out runs as processes of the machine on which a worker is started.",
    "documentation_url": "",
    "install_command": "",
    "is_beta": False,
    "logo_url": "",
    "default_base_job_configuration": {
        "job_configuration": {name: "{{ " + name + " }}" for name in _VARIABLES},
        "variables": {"type": "object", "properties": _VARIABLES},
    },
}
"""The type of pool that every installation has."""

VIEWS: dict[str, Any] = {"aggregate-worker-metadata": {"prefect": {"process": PROCESS}}}


@router.get("/views/{view}", response_model=dict[str, Any])
def read_view_content(view: str) -> Response:
    """Return a collection of metadata by its name."""
    if view not in VIEWS:
        raise not_found(f"View {view!r}")
    return Json(VIEWS[view])
