"""What the engine knows of deployments: the arguments that its flows hand on, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

if TYPE_CHECKING:
    from uuid import UUID


class DeploymentOptions(TypedDict, total=False):
    """What describes a deployment beside its name; see ``headrace.deployments.RunnerDeployment``."""

    interval: Any
    cron: str | list[str] | None
    rrule: str | list[str] | None
    schedule: Any
    schedules: Iterable[Any] | None
    paused: bool | None
    parameters: Mapping[str, Any] | None
    description: str | None
    tags: Iterable[str] | None
    version: str | None
    version_type: str | None
    enforce_parameter_schema: bool
    work_queue_name: str | None
    job_variables: Mapping[str, Any] | None
    concurrency_limit: Any
    crash_brake: Mapping[str, float] | None
    triggers: Any
    entrypoint_type: Any


class Deployable(Protocol):
    """A deployment as a value, before or after the server knows it."""

    name: str

    @property
    def full_name(self) -> str:
        """``flow/deployment``."""

    def apply(self, work_pool_name: str | None = None) -> UUID:
        """Have the server keep it; return its id."""
