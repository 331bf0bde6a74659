"""Carry a run's lifecycle out in sync code."""

from __future__ import annotations

import contextlib
from typing import Any

from . import signals, writing
from .effects import Call, Drain, Effect, Hooks, Record, Sleep, WaitFor
from .futures import wait_all
from .lifecycle import Life, failure, lifecycle
from .run import Run, current_run
from .state import State
from .timeouts import deadline


def drive(run: Run) -> State[Any]:
    """Take a run to its end in this thread; return its state.

    An interruption between two effects (Ctrl-C strikes where it likes) ends the run too, and is raised.
    """
    life = lifecycle(run)
    token = current_run.set(run)
    try:
        with signals.guarded(run):
            return _carry_out(run, life)
    except BaseException as error:
        if run.over or run.recorder.muted_by_fork:
            raise
        return end_late(run, error)
    finally:
        current_run.reset(token)


_too_deep: list[tuple[Run, BaseException]] = []
"""Runs that ended where the stack had no room left even to write that down; whoever has room does it."""


def end_late(run: Run, error: BaseException) -> State[Any]:
    """End a run whose lifecycle was broken off from outside it."""
    try:
        state = failure(run, error)
        run.error = error
        writing.write_state(run, state)
    except RecursionError:
        _too_deep.append((run, error))
        raise
    return state


def end_too_deep() -> None:
    """Write down the ends that found no room, as far as there is room here."""
    with contextlib.suppress(RecursionError):  # one more try further up the stack
        while _too_deep:
            end_late(*_too_deep.pop())


def _carry_out(run: Run, life: Life) -> State[Any]:
    answer: Any = None
    try:
        while True:
            effect = life.send(answer)
            kind = type(effect)
            if kind is Record:
                writing.write_state(run, effect.state)  # type: ignore[attr-defined]
                answer = None
            elif kind is Call:
                answer = _call(run)
                if run.recorder.muted_by_fork:
                    return _leave_child(run, life, answer)
            else:
                answer = _carry_out_rare(run, effect)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # the generator's return type


def _carry_out_rare(run: Run, effect: Effect) -> BaseException | None:
    try:
        if isinstance(effect, Sleep):
            from .pauses import sleep  # only retries sleep

            sleep(run, effect.seconds)
        elif isinstance(effect, WaitFor):
            wait_all(effect.futures)
        elif isinstance(effect, Drain):
            wait_all([child.future for child in writing.children_to_wait_for(run, effect)])
        elif isinstance(effect, Hooks):
            writing.call_hooks(run, effect)
    except BaseException as error:
        if run.is_flow and run.children:  # type: ignore[attr-defined]
            writing.abandon_children(run, error)
        return error
    return None


def _call(run: Run) -> tuple[Any, BaseException | None]:
    try:
        if run.timeout is None:
            return run.fn(*run.args, **run.kwargs), None
        with deadline(run):
            return run.fn(*run.args, **run.kwargs), None
    except BaseException as error:
        if _too_deep:
            end_too_deep()
        return None, error


def _leave_child(run: Run, life: Life, answer: tuple[Any, BaseException | None]) -> State[Any]:
    """In a forked child: hand on what the user's function did, and record nothing."""
    life.close()
    run.over = True
    run.value, run.error = answer
    return State("RUNNING", t=0) if run.error is not None else State("COMPLETED", data=run.value, t=0)
