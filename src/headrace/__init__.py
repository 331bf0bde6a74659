"""Headrace runs Python functions as flows and tells the truth about them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .model.release import __version__ as __version__

if TYPE_CHECKING:
    from . import runtime as runtime
    from .context import tags as tags
    from .deployments.deploying import deploy as deploy
    from .deployments.serving import aserve as aserve
    from .deployments.serving import serve as serve
    from .engine.annotations import allow_failure as allow_failure
    from .engine.annotations import unmapped as unmapped
    from .engine.flow import Flow as Flow
    from .engine.flow import flow as flow
    from .engine.logs import get_run_logger as get_run_logger
    from .engine.state import State as State
    from .engine.task import Task as Task
    from .engine.task import task as task
    from .flow_runs import apause_flow_run as apause_flow_run
    from .flow_runs import aresume_flow_run as aresume_flow_run
    from .flow_runs import asuspend_flow_run as asuspend_flow_run
    from .flow_runs import pause_flow_run as pause_flow_run
    from .flow_runs import resume_flow_run as resume_flow_run
    from .flow_runs import suspend_flow_run as suspend_flow_run


_HOME = {
    "Flow": "engine.flow",
    "State": "engine.state",
    "Task": "engine.task",
    "allow_failure": "engine.annotations",
    "apause_flow_run": "flow_runs",
    "aresume_flow_run": "flow_runs",
    "aserve": "deployments.serving",
    "asuspend_flow_run": "flow_runs",
    "deploy": "deployments.deploying",
    "flow": "engine.flow",
    "get_run_logger": "engine.logs",
    "pause_flow_run": "flow_runs",
    "resume_flow_run": "flow_runs",
    "runtime": "",
    "serve": "deployments.serving",
    "suspend_flow_run": "flow_runs",
    "tags": "context",
    "task": "engine.task",
    "unmapped": "engine.annotations",
}
__all__ = [*sorted(_HOME), "__version__"]  # read from the table, so there is one list


def __getattr__(name: str) -> object:
    """Find a public name in its module at its first use; importing headrace does no work."""
    if name not in _HOME:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    if _HOME[name] == "":
        return import_module(f".{name}", __name__)
    value: object = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
