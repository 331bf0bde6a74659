"""``timeout_seconds`` for sync code: an exception raised inside it when its time is over.

In the main thread an alarm interrupts even a blocking call. In other threads the exception arrives between
two bytecodes; a submitted task that blocks in C past that is given up: its run is TimedOut, the flow goes on,
and its thread is left to itself. A flow that ignores all this is ended by its supervisor.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..errors import FlowRunTimeout, TaskRunTimeout
from . import writing
from .effects import Hooks
from .state import State
from .tracebacks import is_ours_file

if TYPE_CHECKING:
    from .run import Run

_AGAIN_SECONDS = 1.0
"""How soon code that swallowed the exception gets it again."""


class DeadlineReached(BaseException):
    """Raised in user code when its time is over; ``except Exception`` does not swallow it."""


class _Limit:
    """One running deadline."""

    __slots__ = ("ends", "expired", "over", "run", "thread")

    def __init__(self, run: Run, seconds: float) -> None:
        self.run = run
        self.ends = time.monotonic() + seconds
        self.thread = threading.get_ident()
        self.expired = False
        self.over = False


def timed_out(run: Run, cause: BaseException | None) -> BaseException:
    """Return the error of a run whose time is over, with where it stood as its traceback."""
    kind, what = (FlowRunTimeout, "Flow") if run.is_flow else (TaskRunTimeout, "Task")
    error = kind(f"{what} run {run.name} passed its timeout of {run.timeout:g} s.")
    error.__dict__["run_id"] = run.id
    if cause is not None:
        error.__traceback__ = cause.__traceback__
    return error


def is_own_timeout(run: Run, error: BaseException) -> bool:
    """Say whether an error is that of this run's own limit, and not one that a child handed up."""
    return isinstance(error, (FlowRunTimeout, TaskRunTimeout)) and error.__dict__.get("run_id") == run.id


@contextlib.contextmanager
def deadline(run: Run) -> Iterator[None]:
    """Limit the time of the code within to ``run.timeout`` seconds.

    Raises:
        FlowRunTimeout, TaskRunTimeout: the time is over.
    """
    assert run.timeout is not None
    limit = _Limit(run, run.timeout)
    watch = _alarm if _alarm.usable() else _threads
    watch.add(limit)
    try:
        yield
    except DeadlineReached as reached:
        if not limit.expired:
            raise  # an outer limit's
        raise timed_out(run, reached) from None
    finally:
        watch.remove(limit)
    if limit.expired or time.monotonic() > limit.ends:
        raise timed_out(run, None)


class _Alarm:
    """Deadlines of the main thread, kept with the interval timer."""

    def __init__(self) -> None:
        self._limits: list[_Limit] = []

    def usable(self) -> bool:
        """Whether this is the main thread and nobody else uses the alarm."""
        return threading.current_thread() is threading.main_thread() and (
            bool(self._limits) or signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        )

    def add(self, limit: _Limit) -> None:
        if not self._limits:
            signal.signal(signal.SIGALRM, self._ring)
        self._limits.append(limit)
        self._arm()

    def remove(self, limit: _Limit) -> None:
        self._limits.remove(limit)
        if self._limits:
            self._arm()
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _arm(self) -> None:
        nearest = min(limit.ends for limit in self._limits) - time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, max(nearest, 0.000_001), _AGAIN_SECONDS)

    def _ring(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        passed = [limit for limit in self._limits if limit.ends <= now]
        if passed:
            for limit in passed:
                limit.expired = True
            raise DeadlineReached


class _Threads:
    """Deadlines of other threads, watched by one thread that raises in them."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, _Limit]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, limit: _Limit) -> None:
        with self._condition:
            heapq.heappush(self._heap, (limit.ends, next(self._numbers), limit))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="headrace-deadlines", daemon=True)
                self._thread.start()
            self._condition.notify()

    def remove(self, limit: _Limit) -> None:
        with self._condition:
            limit.over = True
            if limit.expired:
                _raise_in(limit.thread, None)  # one that is set but has not struck must not strike later

    def _watch(self) -> None:
        with self._condition:
            while True:
                if not self._heap:
                    if not self._condition.wait(timeout=30):
                        self._thread = None
                        return
                    continue
                ends, _, limit = self._heap[0]
                left = ends - time.monotonic()
                if limit.over:
                    heapq.heappop(self._heap)
                elif left > 0:
                    self._condition.wait(timeout=left)
                else:
                    heapq.heappop(self._heap)
                    if limit.expired:
                        _give_up(limit)
                    limit.expired = True
                    _raise_in(limit.thread, DeadlineReached)
                    heapq.heappush(
                        self._heap, (time.monotonic() + _AGAIN_SECONDS, next(self._numbers), limit)
                    )


def _give_up(limit: _Limit) -> None:
    """End a submitted task that did not hear of its timeout, so that its flow need not wait for it."""
    run: Any = limit.run
    if run.over or getattr(run, "future", None) is None:
        return
    error = timed_out(run, None)
    where = _stack_of(limit.thread)
    details = {"evidence": {"timeout_seconds": run.timeout, "stack": where}}
    message = f"{error} It did not stop when told and was given up; its thread may go on."
    run.error = error
    state: State[Any] = State("FAILED", "TimedOut", message, error, details, t=run.recorder.now())
    writing.end_child(run, state)
    writing.call_hooks(run, Hooks(run.definition.on_failure_hooks, state))


def _stack_of(thread: int) -> str:
    import traceback  # only runs that are given up need it

    frame = sys._current_frames().get(thread)
    summary = traceback.extract_stack(frame) if frame is not None else []
    ours = [number for number, part in enumerate(summary) if is_ours_file(part.filename)]
    return "".join(traceback.format_list(summary[ours[-1] + 1 :] if ours else summary))


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Set an exception to strike in another thread, or take back one that has not struck."""
    import ctypes  # only runs that pass a timeout in a thread need it

    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(kind) if kind is not None else None
    )


_alarm = _Alarm()
_threads = _Threads()


def _after_fork_in_child() -> None:
    global _threads
    _threads = _Threads()  # its thread is not here, and may have held the lock


os.register_at_fork(after_in_child=_after_fork_in_child)
