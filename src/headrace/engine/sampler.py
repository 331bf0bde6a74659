"""A light thread of the run process: once a second it writes down where all threads stand, and looks for the supervisor.

A process that is killed cannot say where it was; its last sample does. The thread is none of ``threading``'s: user code
does not see it, and it is not there while the process forks, so a fork never meets a lock that it holds.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from ..journal import sample
from ..journal.spool import Folder
from ..journal.writer import open_high

PERIOD_S = 1.0

_FRAMES_LIMIT = 60
"""Innermost calls told of one thread or task."""

_TASKS_LIMIT = 20
_JOIN_S = 1.0
_OURS = os.path.dirname(os.path.dirname(__file__)) + "/"  # noqa: PTH120  # as in tracebacks: no pathlib on this way
_LIBRARY = os.path.dirname(os.__file__) + "/"  # noqa: PTH120
_INSTALLED = ("/site-packages/", "/dist-packages/")
_SYNC_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


class Recording(Protocol):
    """What a recorder is to its sampler."""

    @property
    def folder(self) -> Folder | None:
        """The journal's folder; ``None``: nothing is recorded."""

    @property
    def now(self) -> Callable[[], int]:
        """Tells the time of records, µs since 1970."""

    def ensure_supervised(self) -> None:
        """Have another supervisor if there is none any more; called once a second."""


class _Sampler:
    """One thread at a time; ``stop`` and ``start`` around each fork."""

    def __init__(self, folder: Path, recorder: Recording) -> None:
        self._file = _File(folder / sample.NAME)
        self.recorder = recorder
        self._next = time.monotonic() + PERIOD_S
        self._stop: Any = None
        self._ended: Any = None
        self._thread_id = 0

    def start(self) -> None:
        if self._stop is not None:
            return
        self._stop, self._ended = _thread.allocate_lock(), _thread.allocate_lock()
        settled = _thread.allocate_lock()
        for lock in (self._stop, self._ended, settled):
            lock.acquire()
        try:
            _thread.start_new_thread(self._run, (self._stop, self._ended, settled))
        except RuntimeError:  # the process may have no more threads: it has no samples then
            self._stop = None
            return
        # Until then it wants the interpreter's lock: a signal that came while the main thread hands that over, on its
        # way into a long sleep, would be noticed only after the sleep.
        settled.acquire(timeout=_JOIN_S)

    def stop(self) -> None:
        """End the thread, and wait until the kernel has forgotten it: forks count what the kernel knows."""
        if self._stop is None:
            return
        self._stop.release()
        self._stop = None
        if self._ended.acquire(timeout=_JOIN_S):
            until = time.monotonic() + _JOIN_S
            while os.path.exists(f"/proc/self/task/{self._thread_id}") and time.monotonic() < until:  # noqa: PTH110
                time.sleep(0.00005)

    def close(self) -> None:
        self.stop()
        self._file.close()

    def leave_to_parent(self) -> None:
        """Give up, in a forked child, what belongs to its parent."""
        self._file.close()

    def _run(self, stop: Any, ended: Any, settled: Any) -> None:
        try:
            self._thread_id = _thread.get_native_id()
            # Signals are for the user's threads: one that came here would not wake a sleeping main thread.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _SYNC_FAULTS)
            settled.release()
            while not stop.acquire(timeout=max(self._next - time.monotonic(), 0.0)):
                self._next = time.monotonic() + PERIOD_S
                self._look()
        finally:
            ended.release()

    def _look(self) -> None:
        with contextlib.suppress(Exception):  # evidence is never worth a run
            self._file.write(self.recorder.now(), stacks(_thread.get_ident()))
        with contextlib.suppress(Exception):
            self.recorder.ensure_supervised()


class _File:
    """The file of the sample; each write makes sure that the descriptor is still ours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._identity = (0, 0)
        self._last = b""

    def write(self, t: int, text: str) -> None:
        body = text.encode("utf-8", "backslashreplace")[: sample.LIMIT]
        if not self._is_ours():
            self._open()
        head = sample.head(t, len(body))
        os.pwrite(self._fd, head if body == self._last else head + body, 0)
        self._last = body

    def close(self) -> None:
        if self._is_ours():
            os.close(self._fd)
        self._fd = -1

    def _is_ours(self) -> bool:
        """User code may have closed the descriptor and opened a file of its own under its number."""
        try:
            found = os.fstat(self._fd)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def _open(self) -> None:
        made = open_high(self._path, append=False)
        found = os.fstat(made)
        self._fd, self._identity, self._last = made, (found.st_dev, found.st_ino), b""


def stacks(own: int = 0) -> str:
    """Return where every thread of this process stands, but ``own``: the main thread first, innermost call last.

    Headrace's own calls are left out, and so are threads that only wait for work. Coroutines that wait in an asyncio
    loop are told after the thread that runs it.
    """
    frames = sys._current_frames()
    frames.pop(own, None)
    main = threading.main_thread().ident or 0
    names = {thread.ident: thread.name for thread in list(threading._active.values())}  # type: ignore[attr-defined]
    parts: list[str] = []
    for ident in sorted(frames, key=lambda ident: ident != main):
        calls = list(_calls(frames[ident]))
        users = [frame for frame in calls if not frame.f_code.co_filename.startswith(_OURS)]
        if ident != main and all(_is_library(frame) for frame in users):
            continue
        title = "Main thread" if ident == main else f"Thread {names.get(ident, ident)}"
        parts.append(_part(title, users or calls[:1], cut=len(calls) == _FRAMES_LIMIT))
        parts += _waiting_tasks(calls)
    return "\n\n".join(parts)


def _calls(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the calls of a stack, innermost first."""
    count = 0
    while frame is not None and count < _FRAMES_LIMIT:
        yield frame
        frame = frame.f_back
        count += 1


def _is_library(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(("<frozen", _LIBRARY)) and not any(part in name for part in _INSTALLED)


def _part(title: str, calls: list[FrameType], *, cut: bool = False) -> str:
    lines = [f"{title} (innermost call last):"]
    if cut:
        lines.append("  ... calls further out are left out")
    lines += [
        f'  File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}'
        for frame in reversed(calls)
    ]
    return "\n".join(lines)


def _waiting_tasks(calls: list[FrameType]) -> list[str]:
    """Return where the tasks of an asyncio loop wait that a thread runs."""
    asyncio = sys.modules.get("asyncio")
    loop = next((_loop(frame) for frame in calls if frame.f_code.co_name == "run_forever"), None)
    if asyncio is None or loop is None:
        return []
    parts = []
    for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())[:_TASKS_LIMIT]:
        awaited = _awaited(task.get_coro())
        if awaited:
            parts.append(_part(f"asyncio task {task.get_name()}", awaited[::-1]))
    return parts


def _loop(frame: FrameType) -> Any:
    return frame.f_locals.get("self") if frame.f_code.co_filename.startswith(_LIBRARY) else None


def _awaited(coroutine: Any) -> list[FrameType]:
    """Return the frames of a coroutine and of what it waits for, outermost first, without Headrace's own."""
    frames: list[FrameType] = []
    for _ in range(_FRAMES_LIMIT):
        frame = getattr(coroutine, "cr_frame", None)
        if frame is None or getattr(coroutine, "cr_running", False):
            break  # a future at the end of the chain; or it runs right now, and its thread's stack shows it
        if not frame.f_code.co_filename.startswith(_OURS):
            frames.append(frame)
        coroutine = coroutine.cr_await
    return frames


_current: _Sampler | None = None


def start(recorder: Recording) -> None:
    """Begin to sample this process beside its journal; starting anew ends the sampling before."""
    global _current
    stop()
    if recorder.folder is not None:
        _current = _Sampler(recorder.folder.path, recorder)
        _current.start()


def stop() -> None:
    """Sample no more; stopping twice, or before starting, is fine."""
    global _current
    made, _current = _current, None
    if made is not None:
        made.close()


def stop_for(recorder: Recording) -> None:
    """Sample no more if it is for this recorder; another one's sampling goes on."""
    if _current is not None and _current.recorder is recorder:
        stop()


def _before_fork() -> None:
    if _current is not None:
        _current.stop()


def _after_fork_in_parent() -> None:
    if _current is not None:
        _current.start()


def _after_fork_in_child() -> None:
    global _current
    made, _current = _current, None
    if made is not None:
        made.leave_to_parent()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
atexit.register(stop)
