"""The deployment of the running flow run; a plain script has none."""

from __future__ import annotations

import sys
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
    run = current_run.get()
    if name == "flow_run_id":
        return run.flow_run.id if run is not None and run.flow_run is not None else None
    order = sys.modules.get("headrace.engine.planned")  # loaded where a worker started this process
    code = order.current_order.claim.deployment if order is not None and order.current_order else None
    if name == "parameters":
        return dict(code.parameters) if code is not None else {}
    return getattr(code, name) if code is not None else None


def __dir__() -> list[str]:
    return __all__
