"""Tasks in processes of their own: for work that holds the interpreter, and for code that may take it down."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import cloudpickle

from ...errors import CrashedTaskError
from ...model.verdict import signal_name
from .. import arguments, writing
from ..companion import import_environment
from ..state import State
from .threads import ThreadPoolTaskRunner

if TYPE_CHECKING:
    from ..futures import HeadraceFuture
    from ..run import TaskRun

_START = "import sys; del sys.path[:1]; from headrace.engine.pool import main; main()"


class ProcessPoolTaskRunner(ThreadPoolTaskRunner):
    """Carry tasks out in up to ``max_workers`` processes (one a processor unless set), made as they are needed.

    Arguments and results are pickled (cloudpickle, so functions of a script need no ``__main__`` guard). A
    process that dies takes its one task with it, which is then Crashed with evidence; the flow sees a
    ``CrashedTaskError``, and other tasks go on in other processes. ``initializer(*initargs)`` is called once in
    each process. Records of tasks appear in the flow's own journal.
    """

    name = "process-pool"

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,  # noqa: ARG002  # the field's argument; processes are always started afresh here
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(max_workers or os.cpu_count() or 1)
        self._given = max_workers
        self._initializer = initializer
        self._initargs = initargs
        self._own = threading.local()

    def duplicate(self) -> ProcessPoolTaskRunner:
        """Return a fresh runner with the same settings."""
        return type(self)(self._given, None, self._initializer, self._initargs)

    def _help(self, future: HeadraceFuture[Any], elsewhere: bool) -> None:  # the runner's form
        """A task for a process is never carried out in a thread that waits for it."""

    def _carry_out(self, run: TaskRun) -> None:
        """Have one task done by this thread's process."""
        state: State[Any] | None = None
        try:
            state = self._resolve(run) or self._do_remotely(run)
        except Exception as error:  # arguments that cannot be pickled, a process that cannot be started
            from ..lifecycle import failure  # the lifecycle knows futures, and this module makes them end

            state = failure(run, error)
            writing.write_state(run, state)
        finally:
            if state is not None:
                run.state = state
                run.future._finish(state)
            if run.parent is not None:
                run.parent.children.discard(run)

    def _resolve(self, run: TaskRun) -> State[Any] | None:
        if not run.upstream:
            return None
        for future in run.upstream:
            future.wait()
        state = arguments.resolve_upstream(run)
        if state is not None:
            writing.write_state(run, state)
        return state

    def _do_remotely(self, run: TaskRun) -> State[Any]:
        payload = cloudpickle.dumps(_order(run))
        helper = self._helper(run)
        try:
            helper.connection.send_bytes(payload)
            kind, name, message, data, details, t, count = cloudpickle.loads(helper.connection.recv_bytes())
        except (EOFError, OSError):
            self._own.helper = None
            state = _crashed(run, helper)
            writing.write_state(run, state)
            return state
        run.run_count, run.over = count, True
        state = State(kind, name, message, data, details, t=t)
        writing.task_ended_elsewhere(run, state)
        return state

    def _helper(self, run: TaskRun) -> _Helper:
        helper: _Helper | None = getattr(self._own, "helper", None)
        if helper is None or helper.process.poll() is not None:
            helper = self._own.helper = _Helper(run, self._initializer, self._initargs)
        return helper

    def _serve(self) -> None:
        try:
            super()._serve()
        finally:
            helper: _Helper | None = getattr(self._own, "helper", None)
            if helper is not None:
                helper.stop()


class _Helper:
    """One process of a pool, with its connection."""

    def __init__(
        self, run: TaskRun, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
    ) -> None:
        ours, theirs = socket.socketpair()
        recorder = run.recorder
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=import_environment(recorder.settings),
            )
        self.connection = Connection(ours.detach())
        journal = recorder.folder.journal if recorder.folder is not None and recorder.writes else None
        hello = (
            sys.path,
            sys.argv,
            recorder.settings,
            journal,
            recorder.journal,
            recorder.clock.anchor,
            initializer,
            initargs,
        )
        self.connection.send_bytes(cloudpickle.dumps(hello))

    def stop(self) -> None:
        """Let the process end: it does when its connection does."""
        with contextlib.suppress(OSError):
            self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)

    def ending(self) -> int | None:
        """Return how the process ended (a signal as its negative number), ending it if it has not."""
        with contextlib.suppress(OSError):
            self.connection.close()
        try:
            return self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # it lost its connection and lives: nobody can reach it any more
            self.process.kill()
            self.process.wait()
            return None


def _order(run: TaskRun) -> dict[str, Any]:
    parent = run.parent
    assert parent is not None
    return {
        "task": run.definition,
        "args": run.args,
        "kwargs": run.kwargs,
        "id": run.id,
        "name": run.name,
        "dynamic_key": run.dynamic_key,
        "created_us": run.created_us,
        "tags": run.tags,
        "retries": run.retries,
        "retry_delay": run.retry_delay,
        "timeout": run.timeout,
        "log_prints": run.log_prints,
        "flow": {
            "id": parent.id,
            "name": parent.name,
            "flow_name": parent.flow_name,
            "version": parent.flow_version,
            "tags": parent.tags,
            "log_prints": parent.log_prints,
            "root": parent.root.id,
        },
    }


def _crashed(run: TaskRun, helper: _Helper) -> State[Any]:
    code = helper.ending()
    pid = helper.process.pid
    number = -code if code is not None and code < 0 else None
    exit_code = code if code is not None and code >= 0 else None
    if number is not None:
        how = f"was killed by {signal_name(number)}"
    elif exit_code is not None:
        how = f"ended with exit code {exit_code} without reporting"
    else:
        how = "lost its connection and was ended"
    message = f"Process {pid}, which carried it out, {how}."
    evidence: dict[str, Any] = {"pid": pid, "certainty": "certain"}
    if number is not None:
        evidence["signal"] = signal_name(number)
    if exit_code is not None:
        evidence["exit_code"] = exit_code
    error = CrashedTaskError(f"Task run {run.name}: {message}", pid=pid, signal=number, exit_code=exit_code)
    return State("CRASHED", None, message, error, {"evidence": evidence}, t=run.recorder.now())
