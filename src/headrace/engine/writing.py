"""Write a run's changes into the journal, and do what belongs to its end."""

from __future__ import annotations

import inspect
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import msgspec

from ..model import entries
from ..model.states import DEFAULT_NAME, TERMINAL
from . import logs, progress
from .as_json import to_json
from .effects import Drain, Hooks
from .futures import in_event_loop
from .state import State
from .tracebacks import headline

if TYPE_CHECKING:
    from .run import FlowRun, Run, TaskRun

_MESSAGE_LIMIT = 20_000


def write_state(run: Run, state: State[Any]) -> None:
    """Make ``state`` the run's and append it to the journal; a run that is over stays so."""
    if run.over:
        return
    first = run.state is None
    kind = state._type
    recorder = run.recorder
    if recorder.writes:  # first: what could not be written, for want of stack, is tried again by a caller
        record = entries.State(
            run.id,
            state._t,
            kind,
            None if state.name == DEFAULT_NAME[kind] else state.name,
            _bounded(state.message),
            state._details,
            recorder.helper_pid,
        )
        if first:
            recorder.record(created(run), record, keep=True)
        else:
            recorder.record(record, keep=True)
    goes_on = run.state is not None and run.state._type == "PAUSED"
    run.state = state
    if kind == "RUNNING":
        run.run_count += not goes_on
        if run.start_us is None:
            run.start_us = state._t
    if kind in TERMINAL or state.name == "NotReady":
        run.over = True
        run.end_us = state._t
    elif state.name == "Suspended":
        run.over = True  # for this process
    if run.parent is None and run.is_flow:
        _root_changed(run, state, first)
    elif not run.is_flow and run.parent is not None:
        _task_changed(run, run.parent, state, first)


def _bounded(message: str | None) -> str | None:
    if message is None or len(message) <= _MESSAGE_LIMIT:
        return message
    return f"{message[:_MESSAGE_LIMIT]}... [cut; {len(message)} characters in all]"


def write_created(run: Run) -> None:
    """Append that a run exists, before it has another state than Pending."""
    run.state = State("PENDING", t=run.created_us)
    if run.parent is not None:
        run.parent.root.started += 1
    if run.recorder.writes:
        run.recorder.record(created(run), keep=True)


def created(run: Run) -> entries.FlowRun | entries.TaskRun:
    """Return the record of a run's making."""
    return _flow_created(run) if run.is_flow else _task_created(run)  # type: ignore[arg-type]


def _task_created(run: TaskRun) -> entries.TaskRun:
    return entries.TaskRun(
        run.id,
        run.created_us,
        run.definition.task_key,
        run.name,
        run.dynamic_key,
        run.parent.id if run.parent is not None else None,
        sorted(run.tags) if run.tags else None,
        run.definition.version,
        run.retries,
        run.retry_delay,
        run.inputs,
    )


def _flow_created(run: FlowRun) -> entries.FlowRun:
    flow = run.definition
    return entries.FlowRun(
        run=run.id,
        t=run.created_us,
        flow=flow.name,
        name=run.name,
        parent=run.parent.id if run.parent is not None else None,
        placeholder=run.parent_task_run_id,
        dynamic_key=run.dynamic_key,
        version=flow.version,
        parameters=msgspec.Raw(to_json(run.parameters)),
        tags=sorted(run.tags) if run.tags else None,
        retries=run.retries,
        retry_delay=run.retry_delay if not callable(run.retry_delay) else None,
        timeout=run.timeout,
        inputs=run.inputs,
        planned=run.planned is not None,
        retry_on=list(flow.retry_on) if flow.retry_on is not None else None,
    )


def _root_changed(run: Run, state: State[Any], first: bool) -> None:
    if run.over:
        level = 20 if state._type in ("COMPLETED", "PAUSED") else 40
        told = f"Ended as {state.name}" + (f": {state.message}" if state.message else "")
        told = f"Suspended. {state.message}" if state._type == "PAUSED" else told
        logs.emit(run, level, told)
        progress.stop(run)
        run.recorder.ensure_supervised()
    elif first:
        logs.emit(run, 20, f"Began, a run of flow {run.flow_name!r}")  # type: ignore[attr-defined]
        progress.start(run)


def _task_changed(run: Run, parent: FlowRun, state: State[Any], first: bool) -> None:
    root = parent.root
    if first:
        root.started += 1
    if run.over:
        root.finished += 1
        if state._type != "COMPLETED":
            root.failed += 1
            logs.emit(run, 40, f"Ended as {state.name}: {state.message or ''}".rstrip(": "))
    elif state.name == "AwaitingRetry":
        logs.emit(run, 30, f"Will be tried again. {state.message}")


def task_ended_elsewhere(run: TaskRun, state: State[Any]) -> None:
    """Count a task that another process of the flow carried out and recorded."""
    run.state, run.end_us = state, state._t
    if run.parent is not None:
        run.parent.root.finished += 1
        run.parent.root.failed += state._type != "COMPLETED"


def call_hooks(run: Run, effect: Hooks) -> None:
    """Call the user's hooks from sync code; an async hook gets an event loop of its own."""
    for hook in effect.hooks:
        try:
            outcome = hook(run.definition, run, effect.state)  # type: ignore[attr-defined]  # on both kinds of run
            if inspect.isawaitable(outcome):
                _await(outcome)
        except Exception as error:
            log_hook_error(run, hook, error)


def _await(outcome: Any) -> None:
    """Await what an async hook returned, in an event loop of its own."""
    import asyncio  # heavy; only async hooks need it

    async def awaited() -> None:
        await outcome

    if not in_event_loop():
        asyncio.run(awaited())
        return
    errors: list[BaseException] = []
    thread = threading.Thread(
        target=copy_context().run, args=(_keeping_error, asyncio.run, awaited(), errors), name="headrace-hook"
    )
    thread.start()
    thread.join()
    for error in errors:
        raise error


def _keeping_error(run: Any, coroutine: Any, errors: list[BaseException]) -> None:
    try:
        run(coroutine)
    except BaseException as error:
        errors.append(error)


def log_hook_error(run: Run, hook: Any, error: Exception) -> None:
    """Tell that a hook raised; the run's state stays as it is."""
    name = getattr(hook, "__name__", repr(hook))
    logs.emit(run, 40, f"The hook {name} raised; the run stays as it is. {headline(error)}")


def children_to_wait_for(run: Run, effect: Drain) -> list[TaskRun]:
    """End the submitted tasks that a flow gives up as it ends; return those that it still waits for."""
    if effect.abandon and effect.error is not None:
        abandon_children(run, effect.error)
    elif effect.error is not None:
        cancel_unbegun(run)
    for child in list(run.children):  # type: ignore[attr-defined]  # flow runs only
        if child.future is None:  # its submission was broken off
            end_child(child, State("CANCELLED", None, "It was never submitted.", t=run.recorder.now()))
    return list(run.children)  # type: ignore[attr-defined]


def cancel_unbegun(run: Run) -> None:
    """Cancel the submitted tasks of a failed flow that have not begun."""
    for child in list(run.children):  # type: ignore[attr-defined]
        if run.runner.cancel(child):  # type: ignore[attr-defined]
            end_child(
                child, State("CANCELLED", None, "Its flow run ended before it began.", t=run.recorder.now())
            )


def abandon_children(run: Run, error: BaseException) -> None:
    """End the submitted tasks of a flow that was interrupted: it waits for them no more."""
    for child in list(run.children):  # type: ignore[attr-defined]
        run.runner.cancel(child)  # type: ignore[attr-defined]
        told = f"Its flow run was interrupted ({type(error).__name__}) and waits for it no more."
        end_child(child, State("CANCELLED", None, told, error, t=run.recorder.now()))


def end_child(child: TaskRun, state: State[Any]) -> None:
    """Give a submitted task its last state from outside its own lifecycle."""
    write_state(child, state)
    if child.future is not None:
        child.future._finish(state)
    if child.parent is not None:
        child.parent.children.discard(child)
