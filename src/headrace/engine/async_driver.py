"""Carry a run's lifecycle out in async code."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

from . import signals, writing
from .driver import _leave_child, end_late, end_too_deep
from .effects import Call, Drain, Effect, Hooks, Record, Sleep, WaitFor
from .futures import when_all_done
from .lifecycle import Life, lifecycle
from .run import Run, current_run
from .state import State
from .timeouts import timed_out


async def drive_async(run: Run) -> State[Any]:
    """Take a run to its end in the running event loop; return its state."""
    life = lifecycle(run)
    token = current_run.set(run)
    run.loop, run.asyncio_task = asyncio.get_running_loop(), asyncio.current_task()
    try:
        with signals.guarded(run):
            return await _carry_out(run, life)
    except BaseException as error:
        if run.over or run.recorder.muted_by_fork:
            raise
        return end_late(run, signals.translate(run, error))
    finally:
        run.loop = run.asyncio_task = None
        current_run.reset(token)


async def _carry_out(run: Run, life: Life) -> State[Any]:
    answer: Any = None
    try:
        while True:
            effect = life.send(answer)
            if isinstance(effect, Record):
                writing.write_state(run, effect.state)
                answer = None
            elif isinstance(effect, Call):
                answer = await _call(run)
                if run.recorder.muted_by_fork:
                    return _leave_child(run, life, answer)
            else:
                answer = await _carry_out_rare(run, effect)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # the generator's return type


async def _carry_out_rare(run: Run, effect: Effect) -> BaseException | None:
    try:
        if isinstance(effect, Sleep):
            from .async_pauses import async_sleep  # only retries sleep

            await async_sleep(run, effect.seconds)
        elif isinstance(effect, WaitFor):
            await _until_done(effect.futures)
        elif isinstance(effect, Drain):
            await _until_done([child.future for child in writing.children_to_wait_for(run, effect)])
        elif isinstance(effect, Hooks):
            for hook in effect.hooks:
                await _call_hook(run, hook, effect.state)
    except BaseException as error:
        if run.is_flow and run.children:  # type: ignore[attr-defined]
            writing.abandon_children(run, error)
        return signals.translate(run, error)
    return None


async def _until_done(futures: Any) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    def tell() -> None:
        try:
            loop.call_soon_threadsafe(finish)
        except RuntimeError:  # the loop has closed: nobody waits any more
            return

    when_all_done(futures, tell)
    for future in futures:
        future._begin(elsewhere=True)
    await done


async def _call_hook(run: Run, hook: Any, state: State[Any]) -> None:
    try:
        outcome = hook(run.definition, run, state)  # type: ignore[attr-defined]  # on both kinds of run
        if inspect.isawaitable(outcome):
            await outcome
    except Exception as error:
        writing.log_hook_error(run, hook, error)


async def _call(run: Run) -> tuple[Any, BaseException | None]:
    timer: asyncio.TimerHandle | None = None
    task = asyncio.current_task()
    expired: list[bool] = []
    if run.timeout is not None and task is not None:
        timer = asyncio.get_running_loop().call_later(run.timeout, functools.partial(_expire, task, expired))
    try:
        value = await run.fn(*run.args, **run.kwargs)
    except asyncio.CancelledError as error:
        if expired and run.termination is None:
            _uncancel(task)
            return None, timed_out(run, error)
        return None, signals.translate(run, error)
    except BaseException as error:
        end_too_deep()
        return None, error
    finally:
        if timer is not None:
            timer.cancel()
    if expired:  # it caught the cancellation and returned: it is late all the same
        _uncancel(task)
        return None, timed_out(run, None)
    return value, None


def _expire(task: asyncio.Task[Any], expired: list[bool]) -> None:
    expired.append(True)
    task.cancel()


def _uncancel(task: asyncio.Task[Any] | None) -> None:
    uncancel = getattr(task, "uncancel", None)  # Python 3.11 counts cancellations
    if uncancel is not None:
        uncancel()
