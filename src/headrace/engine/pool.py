"""A process of a pool: takes task runs over a connection, carries them out, hands their ends back."""

from __future__ import annotations

import contextlib
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from ..errors import FailedRun
from ..model.clock import AnchoredClock
from .flow import Flow
from .logs import patch_print, set_up
from .recorder import Recorder, use
from .run import FlowRun, TaskRun, current_run
from .runners.threads import carry_out
from .state import State
from .tracebacks import format_user, headline

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the connection ends."""
    _die_with_parent()
    connection = Connection(int(sys.argv[1]))
    try:
        recorder = _greet(connection)
        while True:
            order = cloudpickle.loads(connection.recv_bytes())
            connection.send_bytes(_answer(_do(order, recorder)))
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return


def _greet(connection: Connection) -> Recorder:
    path, argv, settings, journal, journal_id, anchor, initializer, initargs = cloudpickle.loads(
        connection.recv_bytes()
    )
    sys.path[:] = path
    sys.argv[:] = argv
    recorder = Recorder(settings, clock=AnchoredClock(anchor))
    if journal is not None:
        recorder.adopt(journal, journal_id)
    else:
        recorder.muted = True
    use(recorder)
    set_up(settings)
    if initializer is not None:
        initializer(*initargs)
    return recorder


def _do(order: dict[str, Any], recorder: Recorder) -> TaskRun:
    flow_run = _Elsewhere(order["flow"], recorder)
    task = order["task"]
    run = TaskRun(task, recorder, order["args"], order["kwargs"], flow_run, order["tags"])
    for name in (
        "id",
        "name",
        "dynamic_key",
        "created_us",
        "retries",
        "retry_delay",
        "timeout",
        "log_prints",
    ):
        setattr(run, name, order[name])
    if run.log_prints:
        patch_print()
    run.state = State("PENDING", t=run.created_us)
    token = current_run.set(flow_run)
    try:
        carry_out(run)
        if flow_run.runner is not None:  # the task submitted others: they belong to the flow and end with it
            for child in list(flow_run.children):
                child.future.wait()
    finally:
        current_run.reset(token)
    return run


def _answer(run: TaskRun) -> bytes:
    state = run.state
    assert state is not None
    head = (state._type, state.name, state.message)
    tail = (state._details, state._t, run.run_count)
    try:
        return cloudpickle.dumps((*head, state.data, *tail))  # type: ignore[no-any-return]
    except Exception as error:
        data: Any = state.data
        if isinstance(data, BaseException):  # an exception that cannot be pickled arrives as its text
            data = FailedRun(f"{headline(data)}\n{format_user(data)}")
            return cloudpickle.dumps((*head, data, *tail))  # type: ignore[no-any-return]
        message = (
            f"Its value, a {type(data).__name__}, cannot be pickled to leave its process: {headline(error)}"
        )
        failed = FailedRun(message)
        return cloudpickle.dumps(("FAILED", "Failed", message, failed, None, state._t, run.run_count))  # type: ignore[no-any-return]


def _named(name: str) -> Flow[Any, Any]:
    def elsewhere() -> None:
        """Stand for a flow that runs in another process."""

    return Flow(elsewhere, name=name, version="")


class _Elsewhere(FlowRun):
    """The flow run of the task at hand, which lives in another process: known by name only."""

    __slots__ = ()

    def __init__(self, told: dict[str, Any], recorder: Recorder) -> None:
        super().__init__(_named(told["flow_name"]), recorder, (), {}, None, told["tags"])
        self.id, self.name, self.log_prints = told["id"], told["name"], told["log_prints"]
        self.definition.version = told["version"]
        self.state = State("RUNNING", t=recorder.now())

    def count(self, key: str) -> int:
        """Return a number that no other process of the flow gives to this key."""
        number = super().count(key)
        return self.recorder.pid * 1_000_000 + number


def _die_with_parent() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere the connection's end tells
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
