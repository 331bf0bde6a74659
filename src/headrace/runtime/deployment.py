"""The deployment of the running flow run; a plain script has none."""

from __future__ import annotations

from typing import Any

from ..engine.run import current_run
from .mock import from_environment

__all__ = ["flow_run_id", "id", "name", "parameters", "version"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(
            f"headrace.runtime.deployment has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    mocked = from_environment("deployment", name)
    if mocked is not None:
        return mocked
    if name == "parameters":
        return {}
    run = current_run.get()
    if name == "flow_run_id" and run is not None and run.flow_run is not None:
        return run.flow_run.id
    return None


def __dir__() -> list[str]:
    return __all__
