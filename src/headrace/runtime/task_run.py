"""The running task run: id, name, parameters and so on."""

from __future__ import annotations

from typing import Any

from ..engine.run import TaskRun, current_run
from .mock import from_environment

__all__ = ["api_url", "id", "name", "parameters", "run_count", "tags", "task_name", "ui_url"]

_EMPTY: dict[str, Any] = {"tags": [], "parameters": {}, "run_count": 0}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(
            f"headrace.runtime.task_run has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    mocked = from_environment("task_run", name)
    if mocked is not None:
        return mocked
    run = current_run.get()
    if not isinstance(run, TaskRun):
        return _EMPTY.get(name)
    url = run.recorder.settings.api_url or None
    if name == "api_url":
        return f"{url}/task_runs/{run.id}" if url else None
    if name == "ui_url":
        return None
    return sorted(run.tags) if name == "tags" else getattr(run, name)


def __dir__() -> list[str]:
    return __all__
