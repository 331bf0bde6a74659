"""Futures: task runs that were submitted and will end."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from ..errors import UnfinishedRun
from .state import State, get_state_result

if TYPE_CHECKING:
    from .run import TaskRun

R = TypeVar("R")

_mutex = threading.Lock()
"""Guards the waiters of all futures: held for a few instructions, so one is enough, and 100,000 futures stay small."""


Helper = Callable[..., "bool | None"]
"""``helper(future, elsewhere)`` has a task begun that a busy thread of its runner waits for; says whether it did."""


class HeadraceFuture(Generic[R]):
    """A submitted task run: wait for it, ask for its state or its result from any thread."""

    __slots__ = ("__weakref__", "_callbacks", "_help", "_name", "_state", "task_run_id")

    def __init__(self, run: TaskRun, helper: Helper | None = None) -> None:
        self.task_run_id: str = run.id
        self._name = run.name
        self._state: State[R] | None = None
        self._callbacks: list[Callable[[HeadraceFuture[R]], Any]] | None = None
        self._help = helper

    @property
    def state(self) -> State[R]:
        """The task run's state now: its last one when it has ended, else Pending."""
        return self._state if self._state is not None else State("PENDING")

    def done(self) -> bool:
        """Whether the task run has ended."""
        return self._state is not None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the task run has ended, or ``timeout`` seconds have passed."""
        if self.done():
            return
        self._begin(elsewhere=timeout is not None)
        if self.done():
            return
        gate = threading.Lock()
        gate.acquire()
        if not self._subscribe(_Opener(gate)):  # type: ignore[arg-type]  # a named tuple that is called
            return
        gate.acquire(timeout=-1 if timeout is None else max(0.0, timeout))

    def _begin(self, *, elsewhere: bool) -> bool:
        """Have the task begun if this thread keeps it waiting; ``elsewhere``: not in this thread."""
        helper = self._help
        return helper is not None and bool(helper(self, elsewhere or in_event_loop()))

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Wait for the task run and return its value.

        Raises:
            TimeoutError: it has not ended after ``timeout`` seconds.
            Exception: what the task raised, unless ``raise_on_failure`` is false: then it is returned.
        """
        self.wait(timeout)
        if self._state is None:
            raise TimeoutError(
                f"Task run {self._name} has not ended after {timeout:g} s. It goes on; ask again later."
            )
        if self._state.name == "NotReady":
            return _not_ready(self._state, raise_on_failure)  # type: ignore[no-any-return]
        return get_state_result(self._state, raise_on_failure)

    def add_done_callback(self, fn: Callable[[HeadraceFuture[R]], Any]) -> None:
        """Call ``fn(future)`` when the task run ends, or now if it has; from whatever thread ends it.

        What it raises is logged and goes no further.
        """
        if not self._subscribe(fn):
            self._tell(fn)

    def _subscribe(self, fn: Callable[[HeadraceFuture[R]], Any]) -> bool:
        with _mutex:
            if self._state is not None:
                return False
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(fn)
            return True

    def _finish(self, state: State[R]) -> None:
        """Give the future its last state, once; wake whoever waits."""
        with _mutex:
            if self._state is not None:
                return
            self._state = state
            callbacks, self._callbacks, self._help = self._callbacks, None, None
        for callback in callbacks or ():
            self._tell(callback)

    def _tell(self, fn: Callable[[HeadraceFuture[R]], Any]) -> None:
        try:
            fn(self)
        except Exception:  # whoever waits for the future must hear of its end all the same
            import logging  # only here

            logging.getLogger("headrace.futures").exception("A callback of %r raised", self)

    def __repr__(self) -> str:
        return f"HeadraceFuture({self._name!r}, {self._state!r})"


def in_event_loop() -> bool:
    """Say whether this thread runs an event loop, without loading asyncio."""
    loaded = sys.modules.get("asyncio.events")
    return loaded is not None and loaded._get_running_loop() is not None


class _Opener(NamedTuple):
    """Opens a waiter's gate."""

    gate: threading.Lock

    def __call__(self, _: Any) -> None:
        with contextlib.suppress(RuntimeError):  # it was opened before
            self.gate.release()


def _not_ready(state: State[Any], raise_on_failure: bool) -> Any:
    error = (
        state.data if isinstance(state.data, BaseException) else UnfinishedRun(state.message or state.name)
    )
    if raise_on_failure:
        raise error
    return error


class HeadraceFutureList(list[HeadraceFuture[R]]):
    """What ``task.map`` returns: a list of futures."""

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all have ended, or ``timeout`` seconds have passed."""
        wait(self, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """Wait for all and return their values in order; see :meth:`HeadraceFuture.result`."""
        ends = None if timeout is None else time.monotonic() + timeout
        return [
            future.result(None if ends is None else ends - time.monotonic(), raise_on_failure)
            for future in self
        ]


class DoneAndNotDone(NamedTuple):
    """What :func:`wait` returns."""

    done: set[Any]
    not_done: set[Any]


def wait(futures: Sequence[HeadraceFuture[Any]], timeout: float | None = None) -> DoneAndNotDone:
    """Wait until all futures have ended or ``timeout`` seconds have passed; return ``(done, not_done)``."""
    futures = list(futures)
    ends = None if timeout is None else time.monotonic() + timeout
    for future in futures:
        future.wait(None if ends is None else ends - time.monotonic())
    done = {future for future in futures if future.done()}
    return DoneAndNotDone(done, set(futures) - done)


def wait_all(futures: Sequence[HeadraceFuture[Any]]) -> None:
    """Wait until all futures have ended."""
    for future in futures:
        future.wait()


def when_all_done(futures: Sequence[HeadraceFuture[Any]], tell: Callable[[], None]) -> None:
    """Call ``tell`` once, when all futures have ended; from whatever thread ends the last."""
    left = len(futures)
    if left == 0:
        tell()
        return
    lock = threading.Lock()

    def one(_: Any) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            tell()

    for future in futures:
        future.add_done_callback(one)


def as_completed(
    futures: Sequence[HeadraceFuture[R]], timeout: float | None = None
) -> Iterator[HeadraceFuture[R]]:
    """Yield futures as they end, the first first.

    Raises:
        TimeoutError: not all have ended after ``timeout`` seconds.
    """
    import queue  # only here

    unique = list(dict.fromkeys(futures))
    ended: queue.SimpleQueue[HeadraceFuture[R]] = queue.SimpleQueue()
    ends = None if timeout is None else time.monotonic() + timeout
    for future in unique:
        future.add_done_callback(ended.put)
    for number in range(len(unique)):
        if ended.empty():
            any(future._begin(elsewhere=timeout is not None) for future in unique)
        try:
            yield ended.get(timeout=None if ends is None else max(0.0, ends - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(
                f"{len(unique) - number} of {len(unique)} futures have not ended after {timeout:g} s."
            ) from None


_CONTAINERS = (list, tuple, set, frozenset, dict)


def holds_futures(value: Any) -> bool:
    """Say whether a value is, or holds, a future or a state.

    Looked into are lists, tuples, sets, dicts, dataclasses and pydantic models, however deep.
    """
    return _holds(value, None)


def _holds(value: Any, seen: set[int] | None) -> bool:
    if isinstance(value, (HeadraceFuture, State)):
        return True
    items = _items_of(value)
    if items is None:
        return False
    kinds = set(map(type, items))  # a list of a million numbers costs one pass in C
    if not any(map(_may_hold, kinds)):
        return False
    seen = set() if seen is None else seen
    if id(value) in seen:  # a list that holds itself
        return False
    seen.add(id(value))
    return any(_holds(item, seen) for item in items)


def _may_hold(kind: type) -> bool:
    return issubclass(kind, (HeadraceFuture, State, *_CONTAINERS)) or _fields_of(kind) is not None


def _items_of(value: Any) -> Any:
    """Return what a container holds, or ``None`` when the value is none."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, _CONTAINERS):
        return value
    names = _fields_of(type(value))
    return None if names is None else [getattr(value, name, None) for name in names]


def _fields_of(kind: type) -> Any:
    """Return the names of the fields of a dataclass or a pydantic model, else ``None``."""
    fields = getattr(kind, "__dataclass_fields__", None)
    return fields if fields is not None else getattr(kind, "__pydantic_fields__", None)


def replace_futures(value: Any, by: Callable[[Any], Any]) -> Any:
    """Return ``value`` with each future or state in it replaced by ``by(it)``; containers are copied."""
    if isinstance(value, (HeadraceFuture, State)):
        return by(value)
    if not holds_futures(value):
        return value
    if isinstance(value, dict):
        return {key: replace_futures(item, by) for key, item in value.items()}
    if not isinstance(value, _CONTAINERS):
        return _with_fields(value, by)
    items = [replace_futures(item, by) for item in value]
    if hasattr(value, "_fields"):  # a named tuple
        return type(value)(*items)
    return items if isinstance(value, list) else type(value)(items)


def _with_fields(value: Any, by: Callable[[Any], Any]) -> Any:
    import copy  # only for dataclasses and models that hold futures

    changed = copy.copy(value)
    for name in _fields_of(type(value)):
        held = getattr(value, name, None)
        if holds_futures(held):
            object.__setattr__(changed, name, replace_futures(held, by))  # frozen ones too
    return changed


def collect_futures(value: Any) -> list[Any]:
    """Return the futures and states in a value, in order."""
    found: list[Any] = []
    if holds_futures(value):
        _collect(value, found, set())
    return found


def _collect(value: Any, found: list[Any], seen: set[int]) -> None:
    if isinstance(value, (HeadraceFuture, State)):
        found.append(value)
        return
    items = _items_of(value)
    if items is not None and id(value) not in seen:
        seen.add(id(value))
        for item in items:
            _collect(item, found, seen)


def _after_fork_in_child() -> None:
    global _mutex
    _mutex = threading.Lock()  # a thread that is not here any more may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


def resolve_futures_to_states(value: Any) -> Any:
    """Return ``value`` with each future replaced by its last state; waits for them."""

    def state(item: Any) -> Any:
        if isinstance(item, HeadraceFuture):
            item.wait()
            return item.state
        return item

    return replace_futures(value, state)


def resolve_futures_to_results(value: Any) -> Any:
    """Return ``value`` with each future replaced by its value; waits for them, raises what they raised."""
    return replace_futures(value, lambda item: item.result())


__all__ = [
    "DoneAndNotDone",
    "HeadraceFuture",
    "HeadraceFutureList",
    "as_completed",
    "resolve_futures_to_results",
    "resolve_futures_to_states",
    "wait",
]
