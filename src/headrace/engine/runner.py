"""What a flow needs of a task runner."""

from __future__ import annotations

import abc
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .futures import HeadraceFuture
    from .run import TaskRun


class TaskRunner(abc.ABC):
    """Carries submitted tasks out. One belongs to one flow run; it starts at the first submit."""

    name = "runner"
    pid = 0
    """The process that made it: a forked child has none of its threads and needs its own."""

    @abc.abstractmethod
    def duplicate(self) -> TaskRunner:
        """Return a fresh runner of the same kind: each flow run gets its own."""

    @abc.abstractmethod
    def submit(self, run: TaskRun, context: Context) -> HeadraceFuture[Any]:
        """Take a task run and return its future at once."""

    @abc.abstractmethod
    def cancel(self, run: TaskRun) -> bool:
        """Give a task run up if it has not begun; return whether that was so."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Give threads and processes back; no task is waited for."""
