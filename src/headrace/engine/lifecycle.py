"""The life of a run, written once: a generator that asks for effects and does none itself.

``driver`` carries the effects out for sync code, ``async_driver`` for async code.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import Any

from ..errors import Pause, TerminationSignal
from ..model.clock import iso
from ..model.retries import retry_delay
from . import arguments
from .effects import CALL, Drain, Effect, Hooks, Record, Sleep, WaitFor
from .futures import resolve_futures_to_states
from .run import FlowRun, Run, TaskRun
from .state import NO_DATA, State, StateGroup
from .timeouts import DeadlineReached, is_own_timeout
from .tracebacks import evidence, headline

Life = Generator[Effect, Any, State[Any]]


def lifecycle(run: Run) -> Life:
    """Take a run from Pending to its end; return the state it earned.

    The run's ``value`` or ``error`` is then set for its caller. In a forked child it stops at once: the
    parent's process speaks for the run.
    """
    state: State[Any] | None = None
    try:
        state = yield from _prepare(run)
    except Exception as error:  # a parameter that does not fit, a name template that raises
        run.error = error
        state = failure(run, error)
    attempt = run.tries_used if isinstance(run, FlowRun) else 0
    while state is None:
        attempt += 1
        yield Record(_running(run, attempt))
        hooks = run.definition.on_running_hooks  # type: ignore[attr-defined]  # on both kinds of run
        stopped = (yield Hooks(hooks, run.state)) if hooks else None  # type: ignore[arg-type]  # just recorded
        if stopped is not None:
            state = ended(run, None, stopped)
            break
        value, raised = yield CALL
        if run.is_flow and run.children:  # type: ignore[attr-defined]
            abandon = isinstance(raised, _URGENT) or (raised is not None and is_own_timeout(run, raised))
            raised = (yield Drain(raised, abandon)) or raised
        state = ended(run, value, raised)
        if state._type == "FAILED" and attempt <= run.retries and _wants_retry(run, state):
            delay = _delay(run, attempt)
            yield Record(_awaiting(run, state, attempt, delay))
            stopped = yield Sleep(delay)
            state = None if stopped is None else ended(run, None, stopped)
    yield Record(state)
    hooks = end_hooks(run, state)
    if hooks:
        stopped = yield Hooks(hooks, state)
        run.error = run.error if stopped is None else stopped
    return state


def _prepare(run: Run) -> Generator[Effect, Any, State[Any] | None]:
    """Wait for what the run needs and fit its arguments; return a state when it cannot begin."""
    assert isinstance(run, (FlowRun, TaskRun))
    if run.upstream:
        error = yield WaitFor(run.upstream)
        if error is not None:
            return ended(run, None, error)
        not_ready = arguments.resolve_upstream(run)
        if not_ready is not None:
            return not_ready
    if isinstance(run, FlowRun):
        arguments.prepare_flow(run)
    return None


def ended(run: Run, value: Any, error: BaseException | None) -> State[Any]:
    """Return the state that a call earned, and keep its value or error for the caller."""
    run.error = error
    if error is not None:
        return failure(run, error)
    if type(value) in _PLAIN:
        run.value = value
        return State("COMPLETED", data=value, t=run.recorder.now())
    run.value = resolved = resolve_futures_to_states(value)
    return state_of_value(resolved, run.recorder.now())


_URGENT = (KeyboardInterrupt, TerminationSignal)

_PLAIN = {type(None), int, float, str, bool, bytes}


def state_of_value(value: Any, now: int) -> State[Any]:
    """Return the final state that a returned value means, by the field's rules.

    A state is taken as it is, if it is an end. A collection of states is Completed when all are, else Cancelled
    when one is, else Failed. Everything else is the value of a Completed run.
    """
    if isinstance(value, State):
        if not value.is_final():
            told = f"It returned the state {value.name}, which is not an end. {value.message or ''}".rstrip()
            return State("FAILED", message=told, data=value.data, t=now)
        data = None if value.data is NO_DATA and value.is_completed() else value.data
        return State(value._type, value.name, value.message, data, value.state_details, t=now)
    states = _states_in(value)
    if not states:
        return State("COMPLETED", data=value, t=now)
    group = StateGroup(states)
    total = group.total_count
    if group.all_completed():
        return State("COMPLETED", message="All states completed.", data=value, t=now)
    if group.any_cancelled():
        return State(
            "CANCELLED", message=f"{group.count('CANCELLED')}/{total} states cancelled.", data=value, t=now
        )
    if group.any_failed():
        bad = group.count("FAILED") + group.count("CRASHED")
        return State("FAILED", message=f"{bad}/{total} states failed.", data=value, t=now)
    unfinished = sum(not state.is_final() for state in states)
    return State("FAILED", message=f"{unfinished}/{total} states are not final.", data=value, t=now)


def _states_in(value: Any) -> list[State[Any]]:
    if isinstance(value, (list, tuple, set)) and value and all(isinstance(item, State) for item in value):
        return list(value)
    return []


def failure(run: Run, error: BaseException) -> State[Any]:
    """Return the state that an exception means."""
    now = run.recorder.now()
    if isinstance(error, Pause):
        return _suspended(run, error, now)
    details: dict[str, Any] = {"evidence": {"exception": evidence(error)}}
    if isinstance(error, SystemExit):
        return _exited(error, details, now)
    if isinstance(error, KeyboardInterrupt):
        return State("CANCELLED", "Interrupted", "Interrupted by Ctrl-C.", error, t=now)
    if isinstance(error, TerminationSignal):
        if error.cancelled:
            asked = {"asked_by": error.who, "asked_at": error.at}
            details["evidence"] |= {name: value for name, value in asked.items() if value}
            return State("CANCELLED", None, str(error), error, details, t=now)
        details["evidence"] |= {"signal": "SIGTERM", "certainty": "certain"}
        return State("CRASHED", "Terminated", str(error), error, details, t=now)
    if is_own_timeout(run, error):
        details["evidence"]["timeout_seconds"] = run.timeout
        return State("FAILED", "TimedOut", str(error), error, details, t=now)
    if isinstance(error, DeadlineReached):
        what = "A run that it belongs to passed its timeout."
        return State("CANCELLED", None, what, error, details, t=now)
    if _is_cancellation(run, error):
        return State("CANCELLED", None, "Its event loop cancelled it.", error, t=now)
    if isinstance(error, MemoryError):
        from .memory import peak_memory_bytes  # only a run that is out of memory asks

        details["evidence"]["peak_memory_bytes"] = peak_memory_bytes()
    return State("FAILED", None, headline(error), error, details, t=now)


def _is_cancellation(run: Run, error: BaseException) -> bool:
    """Say whether async code was told to stop: asyncio's and trio's ways to, or its coroutine was closed."""
    if isinstance(error, GeneratorExit):
        return bool(run.definition.isasync)  # type: ignore[attr-defined]
    return not isinstance(error, Exception) and type(error).__name__.startswith("Cancelled")


def _suspended(run: Run, pause: Pause, now: int) -> State[Any]:
    if run.parent is not None or not run.is_flow:
        return State(
            "CANCELLED", None, "Its flow run is suspended, and begins it again when it is resumed.", t=now
        )
    details: dict[str, Any] = {
        "pause_reschedule": True,
        "pause_key": pause.key,
        "pause_timeout": pause.expires,
    }
    if pause.keyset is not None:
        details["run_input_keyset"] = pause.keyset
    told = {name: value for name, value in details.items() if value is not None}
    return State("PAUSED", "Suspended", str(pause), state_details=told, t=now)


def _exited(error: SystemExit, details: dict[str, Any], now: int) -> State[Any]:
    if error.code in (None, 0):
        return State("COMPLETED", None, "It exited early, with code 0.", None, details, t=now)
    what = f"code {error.code}" if isinstance(error.code, int) else f"the text {str(error.code)[:1000]!r}"
    return State("FAILED", None, f"SystemExit: it exited with {what}.", error, details, t=now)


def _running(run: Run, attempt: int) -> State[Any]:
    return State("RUNNING", "Retrying" if attempt > 1 else "Running", t=run.recorder.now())


def _wants_retry(run: Run, state: State[Any]) -> bool:
    if run.error is not None and not isinstance(run.error, Exception):
        return False  # sys.exit, Ctrl-C and a cancel end the run, whatever its retries
    kinds = getattr(run.definition, "retry_on", None)  # type: ignore[attr-defined]
    if kinds is not None and "failed" not in kinds:
        return False
    condition: Callable[..., bool] | None = getattr(run.definition, "retry_condition_fn", None)  # type: ignore[attr-defined]
    if condition is None:
        return True
    try:
        return bool(condition(run.definition, run, state))  # type: ignore[attr-defined]
    except Exception as error:
        from .logs import run_logger  # logging is loaded by a run that needs it

        run_logger(run).error("retry_condition_fn raised, so the run is not tried again: %s", headline(error))
        return False


def _delay(run: Run, attempt: int) -> float:
    jitter = getattr(run.definition, "retry_jitter_factor", None)  # type: ignore[attr-defined]
    return retry_delay(run.retry_delay, attempt, jitter=jitter, rng=random.random)


def _awaiting(run: Run, failed: State[Any], attempt: int, delay: float) -> State[Any]:
    now = run.recorder.now()
    details = {
        **failed.state_details.to_dict(),
        "scheduled_time": iso(now + int(delay * 1_000_000)),
    }
    message = f"Attempt {attempt} of {run.retries + 1} failed: {failed.message or failed.name}"
    return State("SCHEDULED", "AwaitingRetry", message, state_details=details, t=now)


def end_hooks(run: Run, state: State[Any]) -> list[Callable[..., Any]]:
    """Return the user's hooks for an end."""
    definition: Any = run.definition  # type: ignore[attr-defined]
    if state._type == "COMPLETED":
        return definition.on_completion_hooks  # type: ignore[no-any-return]
    if state._type == "FAILED":
        return definition.on_failure_hooks  # type: ignore[no-any-return]
    if state._type == "CRASHED":
        return getattr(definition, "on_crashed_hooks", [])
    if state._type == "CANCELLED":
        return getattr(definition, "on_cancellation_hooks", [])
    return []
