"""A run in this process: what the engine knows of one call of a flow or a task."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from ..model.clock import to_datetime
from .state import State

if TYPE_CHECKING:
    import asyncio
    import logging

    from ..model.orders import PlannedRun
    from .recorder import Recorder

Hook = Callable[..., Any]


class Definition(Protocol):
    """What a run needs of the flow or task that it is a call of."""

    name: str
    fn: Callable[..., Any]
    version: str | None
    on_completion_hooks: list[Hook]
    on_failure_hooks: list[Hook]
    on_running_hooks: list[Hook]


class FlowDefinition(Definition, Protocol):
    """What a flow run needs of its flow."""

    on_cancellation_hooks: list[Hook]
    on_crashed_hooks: list[Hook]
    task_runner: Any
    flow_run_name: str | Callable[..., str] | None
    should_validate_parameters: bool
    retry_on: tuple[str, ...] | None
    signature: inspect.Signature

    @property
    def validator(self) -> Any:
        """Fits arguments to type hints."""


class TaskDefinition(Definition, Protocol):
    """What a task run needs of its task."""

    task_key: str
    task_run_name: str | Callable[..., str] | None
    isasync: bool

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return arguments by parameter name."""


class Canceller(Protocol):
    """What a flow run's end needs of its task runner."""

    pid: int

    def cancel(self, run: TaskRun) -> bool:
        """Give a task run up if it has not begun; return whether that was so."""

    def stop(self) -> None:
        """Give threads and processes back."""


class Run:
    """What flow runs and task runs share. Hooks get it as ``flow_run`` or ``task_run``."""

    __slots__ = (
        "_logger",
        "args",
        "asyncio_task",
        "created_us",
        "end_us",
        "error",
        "fn",
        "id",
        "kwargs",
        "log_prints",
        "loop",
        "name",
        "over",
        "parent",
        "recorder",
        "retries",
        "retry_delay",
        "run_count",
        "start_us",
        "state",
        "tags",
        "termination",
        "timeout",
        "value",
    )

    is_flow = False

    def __init__(
        self,
        recorder: Recorder,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parent: FlowRun | None,
        tags: frozenset[str],
    ) -> None:
        self.recorder = recorder
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.parent = parent
        self.tags: Any = tags
        self.created_us = recorder.now()
        self.id = recorder.ids.new(self.created_us)
        self.name = ""
        self.run_count = 0
        self.start_us: int | None = None
        self.end_us: int | None = None
        self.state: State[Any] | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.over = False
        self.timeout: float | None = None
        self.retries = 0
        self.retry_delay: Any = None
        self.log_prints = False
        self.termination: BaseException | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.asyncio_task: asyncio.Task[Any] | None = None
        self._logger: logging.LoggerAdapter[logging.Logger] | None = None

    @property
    def flow_run(self) -> FlowRun | None:
        """The flow run to which logs and tasks belong."""
        return self.parent

    @property
    def start_time(self) -> datetime | None:
        """When it first ran (aware, UTC)."""
        return to_datetime(self.start_us) if self.start_us is not None else None

    @property
    def end_time(self) -> datetime | None:
        """When it ended (aware, UTC)."""
        return to_datetime(self.end_us) if self.end_us is not None else None

    @property
    def expected_start_time(self) -> datetime:
        """When it was made (aware, UTC)."""
        return to_datetime(self.created_us)

    @property
    def state_type(self) -> Any:
        """The type of its state."""
        return self.state.type if self.state is not None else None

    @property
    def state_name(self) -> str | None:
        """The name of its state."""
        return self.state.name if self.state is not None else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, name={self.name!r}, state={self.state!r})"


class FlowRun(Run):
    """A flow run of this process."""

    __slots__ = (
        "answered",
        "children",
        "counters",
        "definition",
        "deployment_id",
        "dynamic_key",
        "failed",
        "finished",
        "inputs",
        "looked_us",
        "parameters",
        "parent_task_run_id",
        "planned",
        "root",
        "runner",
        "started",
        "upstream",
        "wait_for",
    )

    is_flow = True

    def __init__(
        self,
        definition: FlowDefinition,
        recorder: Recorder,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parent: FlowRun | None,
        tags: frozenset[str],
    ) -> None:
        super().__init__(recorder, definition.fn, args, kwargs, parent, tags)
        self.definition = definition
        self.parameters: dict[str, Any] = {}
        self.counters: dict[str, int] = {}
        self.children: set[TaskRun] = set()
        """Submitted task runs that have not ended."""
        self.runner: Canceller | None = None
        self.parent_task_run_id: str | None = None
        self.dynamic_key: str | None = None
        self.deployment_id: str | None = None
        self.answered: dict[str, Any] = {}
        """``{pause key: the input that was given}`` of the pauses that are over, in earlier attempts too."""
        self.looked_us = 0
        """When it was last looked whether the run is to suspend."""
        self.inputs: dict[str, list[dict[str, Any]]] | None = None
        self.upstream: list[Any] | None = None
        self.wait_for: Any = None
        self.root: FlowRun = parent.root if parent is not None else self
        self.started = self.finished = self.failed = 0
        """Task runs so far, for the progress line."""
        self.planned: PlannedRun | None = None
        """What a server planned and this process carries out; ``None`` for a call of the flow."""

    @property
    def tries_used(self) -> int:
        """How many retries earlier attempts of it used."""
        return self.planned.tries_used if self.planned is not None else 0

    @property
    def flow_run(self) -> FlowRun | None:
        """Itself: logs and tasks belong to it."""
        return self

    @property
    def flow_name(self) -> str:
        """The flow's name."""
        return self.definition.name

    @property
    def flow_version(self) -> str | None:
        """The flow's version."""
        return self.definition.version

    def count(self, key: str) -> int:
        """Return how often ``key`` was counted in this run before, and count it."""
        number = self.counters.get(key, 0)
        self.counters[key] = number + 1
        return number


class TaskRun(Run):
    """A task run of this process."""

    __slots__ = ("definition", "dynamic_key", "future", "inputs", "upstream", "wait_for")

    def __init__(
        self,
        definition: TaskDefinition,
        recorder: Recorder,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parent: FlowRun | None,
        tags: frozenset[str],
    ) -> None:
        super().__init__(recorder, definition.fn, args, kwargs, parent, tags)
        self.definition = definition
        self.dynamic_key = ""
        self.future: Any = None
        self.inputs: dict[str, list[dict[str, Any]]] | None = None
        self.upstream: list[Any] | None = None
        self.wait_for: Any = None

    @property
    def flow_run_id(self) -> str | None:
        """The id of its flow run."""
        return self.parent.id if self.parent is not None else None

    @property
    def task_key(self) -> str:
        """The task's key."""
        return self.definition.task_key

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self.definition.name

    @property
    def task_version(self) -> str | None:
        """The task's version."""
        return self.definition.version

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments by name."""
        return self.definition.bind(self.args, self.kwargs)


current_run: ContextVar[Run | None] = ContextVar("headrace_run", default=None)
"""The innermost run of the running code."""

current_tags: ContextVar[frozenset[str]] = ContextVar("headrace_tags", default=frozenset())
"""Tags set by ``with tags(...)``."""
