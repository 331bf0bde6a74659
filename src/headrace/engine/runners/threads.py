"""Tasks in threads of the flow's own process: the default."""

from __future__ import annotations

import os
import queue
import threading
from contextvars import Context
from typing import TYPE_CHECKING, Any

from ..driver import drive
from ..futures import HeadraceFuture
from ..runner import TaskRunner

if TYPE_CHECKING:
    from ..run import TaskRun

_MANY = 1000
"""Threads that one flow may have at once when the user sets no number."""

_IDLE_SECONDS = 5.0

_local = threading.local()


class _Work:
    """One submitted task; whoever claims it first carries it out."""

    __slots__ = ("claimed", "context", "run")

    def __init__(self, run: TaskRun, context: Context) -> None:
        self.run = run
        self.context = context
        self.claimed = False


class ThreadPoolTaskRunner(TaskRunner):
    """Carry tasks out in up to ``max_workers`` threads (1,000 unless set), made as they are needed.

    A task that waits for another one's future while all threads are busy carries that one out itself, so
    tasks that submit tasks cannot lock each other out. The threads never hold the process's end up.
    """

    name = "thread-pool"

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers is {max_workers}; a runner needs at least 1 thread.")
        self.max_workers = max_workers
        self.pid = os.getpid()
        self._limit = max_workers or _MANY
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: dict[str, _Work] = {}
        """``{run id: work}`` of tasks that nobody has begun."""
        self._threads = 0
        self._idle = 0
        self._stopped = False

    def duplicate(self) -> ThreadPoolTaskRunner:
        """Return a fresh runner with the same number of threads."""
        return type(self)(self.max_workers)

    def submit(self, run: TaskRun, context: Context) -> HeadraceFuture[Any]:
        """Take a task run and return its future at once."""
        future: HeadraceFuture[Any] = HeadraceFuture(run, self._help)
        run.future = future
        work = _Work(run, context)
        with self._lock:
            self._waiting[run.id] = work
            start = self._idle <= self._queue.qsize() and self._threads < self._limit
            if start:
                self._threads += 1
        self._queue.put(work)
        if start:
            self._start_thread(run)
        return future

    def _start_thread(self, run: TaskRun) -> None:
        try:
            threading.Thread(target=self._serve, name="headrace-task", daemon=True).start()
        except RuntimeError:  # the system gives no more threads: those there are do it, or else this one
            with self._lock:
                self._threads -= 1
                alone = self._threads == 0
            work = self._claim(run.id) if alone else None
            if work is not None:
                work.context.run(self._carry_out, work.run)

    def cancel(self, run: TaskRun) -> bool:
        """Give a task run up if it has not begun; return whether that was so."""
        return self._claim(run.id) is not None

    def stop(self) -> None:
        """Let the threads end; tasks that run go on to their end."""
        with self._lock:
            self._stopped = True
            threads = self._threads
        for _ in range(threads):
            self._queue.put(None)

    def _carry_out(self, run: TaskRun) -> None:
        """Take one task to its end."""
        carry_out(run)

    def _claim(self, run_id: str) -> _Work | None:
        with self._lock:
            return self._waiting.pop(run_id, None)

    def _help(self, future: HeadraceFuture[Any], elsewhere: bool) -> bool | None:
        """Have a task begun for which a thread of a runner waits; return whether it was.

        The waiting thread does it, or with ``elsewhere`` (it runs an event loop, or waits for a limited time)
        a further thread, so that the waiting one does not count among ``max_workers``.
        """
        if not getattr(_local, "serving", False) or (elsewhere and self._threads < self._limit):
            return False
        work = self._claim(future.task_run_id)
        if work is None:
            return False
        if elsewhere:
            threading.Thread(target=self._serve_one, args=(work,), name="headrace-task", daemon=True).start()
        else:
            work.context.run(self._carry_out, work.run)
        return True

    def _serve_one(self, work: _Work) -> None:
        _local.serving = True
        work.context.run(self._carry_out, work.run)

    def _serve(self) -> None:
        _local.serving = True
        while True:
            work = self._next()
            if work is None:
                return
            if self._claim(work.run.id) is not None:
                work.context.run(self._carry_out, work.run)
            del work  # the last task's arguments must not live until the next one comes

    def _next(self) -> _Work | None:
        with self._lock:
            self._idle += 1
        while True:
            work: _Work | None = None
            told = True
            try:
                work = self._queue.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                told = False
            with self._lock:
                if not told and self._waiting:  # submitted just now, in reliance on this thread
                    continue
                self._idle -= 1
                if work is None:
                    self._threads -= 1
            return work


def carry_out(run: TaskRun) -> None:
    """Take one submitted task run to its end in this thread and finish its future."""
    state: Any = None
    try:
        if run.definition.isasync:
            import asyncio  # heavy; only async tasks need it

            from ..async_driver import drive_async

            state = asyncio.run(drive_async(run))
        else:
            state = drive(run)
    except BaseException:  # recorded as the run's state; a thread has no caller to raise to
        state = run.state
    finally:
        parent = run.parent
        if state is not None and run.future is not None:
            run.future._finish(state)
        if parent is not None:
            parent.children.discard(run)


ConcurrentTaskRunner = ThreadPoolTaskRunner
