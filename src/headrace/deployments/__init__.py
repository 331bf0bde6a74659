"""Deployments from code: have the server keep them, carry out their runs here, start runs of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .deploying import adeploy as adeploy
    from .deploying import deploy as deploy
    from .runner import ConcurrencyLimitConfig as ConcurrencyLimitConfig
    from .runner import RunnerDeployment as RunnerDeployment
    from .running import arun_deployment as arun_deployment
    from .running import run_deployment as run_deployment
    from .serving import aserve as aserve
    from .serving import serve as serve
    from .storage import GitRepository as GitRepository
    from .storage import LocalStorage as LocalStorage

_HOME = {
    "ConcurrencyLimitConfig": "runner",
    "GitRepository": "storage",
    "LocalStorage": "storage",
    "RunnerDeployment": "runner",
    "adeploy": "deploying",
    "arun_deployment": "running",
    "aserve": "serving",
    "deploy": "deploying",
    "run_deployment": "running",
    "serve": "serving",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """Find a public name at its first use: what speaks to the server is heavy."""
    if name not in _HOME:
        raise AttributeError(f"module 'headrace.deployments' has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
