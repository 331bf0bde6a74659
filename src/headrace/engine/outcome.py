"""Hand a run's outcome to whoever called it: a value, a state, or what it raised."""

from __future__ import annotations

import os
import signal
from typing import Any

from ..errors import Pause, TerminationSignal
from .run import Run
from .state import State
from .tracebacks import strip_chain


class LoopInterrupted(KeyboardInterrupt):
    """Ctrl-C as async code meets it: ``cancellation`` must go on through the event loop, whose runner ends it."""

    def __init__(self, cancellation: BaseException) -> None:
        super().__init__()
        self.cancellation = cancellation


def hand_over(run: Run, return_state: bool) -> Any:
    """Return a run's value, or its state; or raise what ended it, without the engine's frames.

    What must end the process (Ctrl-C, ``sys.exit``, SIGTERM) is raised whatever is asked for.
    """
    error = run.error
    state: Any = run.state
    if error is not None:
        if not isinstance(error, Exception):
            _end_process(run, error)
        if return_state and state is not None:
            return state
        __tracebackhide__ = True
        raise strip_chain(error)
    if return_state and not run.recorder.muted_by_fork:
        return state
    value = run.value
    if isinstance(value, State):
        return (state or value).result()
    return value


def _end_process(run: Run, error: BaseException) -> None:
    if isinstance(error, TerminationSignal) and run.parent is None:
        if not error.cancelled:
            # Whoever sent SIGTERM sees a process that SIGTERM ended, after its finally blocks have run.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit(128 + signal.SIGTERM) from None
    if isinstance(error, Pause) and run.parent is None and run.is_flow:
        raise SystemExit(0) from None
    if isinstance(error, LoopInterrupted):
        raise error.cancellation.with_traceback(None) from None
    raise strip_chain(error)
