"""The running flow run: id, name, parameters and so on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from ..engine.run import FlowRun, current_run
from .mock import from_environment

__all__ = [
    "api_url",
    "flow_name",
    "flow_version",
    "id",
    "job_variables",
    "name",
    "parameters",
    "parent_deployment_id",
    "parent_flow_run_id",
    "root_flow_run_id",
    "run_count",
    "scheduled_start_time",
    "tags",
    "ui_url",
]

_EMPTY: dict[str, Any] = {"tags": [], "parameters": {}, "run_count": 0}


def _read(run: FlowRun, name: str) -> Any:
    url = run.recorder.settings.api_url or None
    values: dict[str, Callable[[], Any]] = {
        "tags": lambda: sorted(run.tags),
        "scheduled_start_time": lambda: _scheduled(run),
        "parameters": lambda: dict(run.parameters),
        "parent_flow_run_id": lambda: _parent(run),
        "parent_deployment_id": lambda: None,
        "root_flow_run_id": lambda: run.root.id,
        "api_url": lambda: f"{url}/flow_runs/{run.id}" if url else None,
        "ui_url": lambda: None,
        "job_variables": lambda: dict(run.planned.job_variables) if run.planned is not None else None,
        "run_count": lambda: run.run_count + (run.planned.begun if run.planned is not None else 0),
    }
    return values[name]() if name in values else getattr(run, name)


def _scheduled(run: FlowRun) -> datetime:
    when = run.planned.expected_start_time if run.planned is not None else None
    return datetime.fromisoformat(when.replace("Z", "+00:00")) if when else run.expected_start_time


def _parent(run: FlowRun) -> str | None:
    if run.parent is not None:
        return run.parent.id
    return run.planned.parent_flow_run_id if run.planned is not None else None


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(
            f"headrace.runtime.flow_run has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    mocked = from_environment("flow_run", name)
    if mocked is not None:
        return mocked
    run = current_run.get()
    found = run.flow_run if run is not None else None
    return _EMPTY.get(name) if found is None else _read(found, name)


def __dir__() -> list[str]:
    return __all__
