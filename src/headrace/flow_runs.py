"""Pause, suspend, resume and await flow runs.

What asks a server imports its client when it is called: a run that only pauses needs neither HTTP nor asyncio.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar, overload
from uuid import UUID

from .engine.pauses import POLL_S, leave, running_flow, wait_here
from .engine.recorder import current_settings
from .errors import ApiError, FlowPauseTimeout, FlowRunWaitTimeout, NotPausedError, RunInputError

if TYPE_CHECKING:
    from .client.connection import Connection
    from .client.waiting import Wait
    from .engine.recorded import RecordedFlowRun

__all__ = [
    "apause_flow_run",
    "aresume_flow_run",
    "asuspend_flow_run",
    "await_for_flow_run",
    "pause_flow_run",
    "resume_flow_run",
    "suspend_flow_run",
    "wait_for_flow_run",
]

_T = TypeVar("_T")
_Json = dict[str, Any]


@overload
def pause_flow_run(
    wait_for_input: None = None,
    timeout: float | None = ...,
    poll_interval: float = ...,
    key: str | None = ...,
) -> None: ...
@overload
def pause_flow_run(
    wait_for_input: type[_T], timeout: float | None = ..., poll_interval: float = ..., key: str | None = ...
) -> _T: ...
def pause_flow_run(
    wait_for_input: Any = None,
    timeout: float | None = 3600,
    poll_interval: float = POLL_S,
    key: str | None = None,
) -> Any:
    """Wait in the flow run's process until somebody resumes it; return what it is told (in async code: await it).

    The run is Paused meanwhile: its process, its slots and what it holds in memory stay. ``wait_for_input``: what
    to ask for, a pydantic model (:class:`headrace.input.RunInput`) or a type such as ``str``; the answer is checked
    and returned as that. ``timeout``: seconds, ``None`` for as long as it takes. ``poll_interval``: seconds between
    two looks at a file of its own; no server is asked. ``key``: a name for this pause, at most 200 characters; the
    n-th pause of the run is otherwise called ``"0"``, ``"1"``, ... A key that was answered in this run returns its
    answer at once, also when the run is tried again.

    Raises:
        FlowPauseTimeout: nobody resumed it in time; uncaught, the run is Failed.
        MissingContextError: no flow is running here, or this is a task.
    """
    run = running_flow("pause_flow_run")
    if run.loop is not None:
        return apause_flow_run(wait_for_input, timeout, poll_interval, key)
    return wait_here(run, wait_for_input, timeout, poll_interval, key)


@overload
async def apause_flow_run(
    wait_for_input: None = None,
    timeout: float | None = ...,
    poll_interval: float = ...,
    key: str | None = ...,
) -> None: ...
@overload
async def apause_flow_run(
    wait_for_input: type[_T], timeout: float | None = ..., poll_interval: float = ..., key: str | None = ...
) -> _T: ...
async def apause_flow_run(
    wait_for_input: Any = None,
    timeout: float | None = 3600,
    poll_interval: float = POLL_S,
    key: str | None = None,
) -> Any:
    """As :func:`pause_flow_run`, for async flows: the event loop goes on meanwhile."""
    from .engine.async_pauses import await_here

    return await await_here(running_flow("apause_flow_run"), wait_for_input, timeout, poll_interval, key)


@overload
def suspend_flow_run(
    wait_for_input: None = None,
    flow_run_id: UUID | str | None = ...,
    timeout: float | None = ...,
    key: str | None = ...,
) -> None: ...
@overload
def suspend_flow_run(
    wait_for_input: type[_T],
    flow_run_id: None = ...,
    timeout: float | None = ...,
    key: str | None = ...,
) -> _T: ...
def suspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | str | None = None,
    timeout: float | None = 3600,
    key: str | None = None,
) -> Any:
    """End the flow run's process until somebody resumes the run; then return what it is told (in async code: await it).

    For runs of a deployment: a resume has a worker start the flow again from its beginning, and there this call
    returns at once. Nothing is held meanwhile: no process, no memory, no slot. The arguments are those of
    :func:`pause_flow_run`; ``timeout`` says until when the run may be resumed.

    With ``flow_run_id`` another run is suspended: it goes on to its next task or retry and stops there.

    Raises:
        Pause: the run ends here; it is no ``Exception``, so let it pass. ``finally`` blocks run.
        MissingContextError: the run belongs to no deployment, is a subflow, or no flow is running here.
        ApiError: the other run cannot be suspended; the text says why.
    """
    if flow_run_id is not None:
        from .engine.calling import here_or_awaited

        asked = _suspend_request(wait_for_input, timeout, key)
        return here_or_awaited(lambda: _suspend(str(flow_run_id), asked))
    run = running_flow("suspend_flow_run")
    if run.loop is not None:
        return asuspend_flow_run(wait_for_input, None, timeout, key)
    return leave(run, wait_for_input, timeout, key)


@overload
async def asuspend_flow_run(
    wait_for_input: None = None,
    flow_run_id: UUID | str | None = ...,
    timeout: float | None = ...,
    key: str | None = ...,
) -> None: ...
@overload
async def asuspend_flow_run(
    wait_for_input: type[_T],
    flow_run_id: None = ...,
    timeout: float | None = ...,
    key: str | None = ...,
) -> _T: ...
async def asuspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | str | None = None,
    timeout: float | None = 3600,
    key: str | None = None,
) -> Any:
    """As :func:`suspend_flow_run`, for async code."""
    if flow_run_id is not None:
        import asyncio

        asked = _suspend_request(wait_for_input, timeout, key)
        return await asyncio.to_thread(_suspend, str(flow_run_id), asked)
    return leave(running_flow("asuspend_flow_run"), wait_for_input, timeout, key)


def resume_flow_run(flow_run_id: UUID | str, run_input: _Json | None = None) -> None:
    """Let a paused or suspended flow run go on (in async code: await it).

    ``run_input`` answers what the run asks for, by field; a run that asks for a plain type takes ``{"value": ...}``.

    Raises:
        NotPausedError: the run is not paused.
        FlowPauseTimeout: its timeout has passed.
        RunInputError: the input does not fit; the text names the fields, and the run stays paused.
        ObjectNotFound: there is no such run.
        ServerUnavailable: no server answers.
    """
    from .engine.calling import here_or_awaited

    return here_or_awaited(lambda: _resume(str(flow_run_id), run_input))


async def aresume_flow_run(flow_run_id: UUID | str, run_input: _Json | None = None) -> None:
    """As :func:`resume_flow_run`, for async code."""
    import asyncio

    await asyncio.to_thread(_resume, str(flow_run_id), run_input)


def wait_for_flow_run(
    flow_run_id: UUID | str,
    timeout: float | None = 10800,
    poll_interval: float = 5.0,
    client: Connection | None = None,
) -> RecordedFlowRun:
    """Wait for the end of a flow run, whoever carries it out, and return it as the server has it.

    ``timeout``: seconds, ``None`` for as long as it takes. ``poll_interval``: the longest pause between two looks, in
    seconds; the first ones are short. A server that restarts meanwhile only takes time. In async code: await it.

    Raises:
        FlowRunWaitTimeout: it has not ended in time; it goes on.
        ObjectNotFound: there is no such run.
    """
    from .client.waiting import Wait
    from .connect import connect
    from .engine.calling import is_awaited

    if is_awaited():
        return await_for_flow_run(flow_run_id, timeout, poll_interval, client)  # type: ignore[return-value]  # typed for sync callers
    connection = client or connect(current_settings())
    try:
        wait = Wait(connection, str(flow_run_id), timeout=timeout, interval=poll_interval)
        wait.sync()
        return _ended(wait, timeout)
    finally:
        if client is None:
            connection.close()


async def await_for_flow_run(
    flow_run_id: UUID | str,
    timeout: float | None = 10800,
    poll_interval: float = 5.0,
    client: Connection | None = None,
) -> RecordedFlowRun:
    """As :func:`wait_for_flow_run`, without holding up the loop."""
    import asyncio

    from .client.waiting import Wait
    from .connect import connect

    connection = client if client is not None else await asyncio.to_thread(connect, current_settings())
    try:
        wait = Wait(connection, str(flow_run_id), timeout=timeout, interval=poll_interval)
        await wait.aio()
        return _ended(wait, timeout)
    finally:
        if client is None:
            connection.close()


def _ended(wait: Wait, timeout: float | None) -> RecordedFlowRun:
    from .engine.recorded import RecordedFlowRun

    assert wait.run is not None  # a wait that heard nothing raises
    if not wait.is_over:
        raise FlowRunWaitTimeout(
            f"The flow run {wait.run['name']} is {wait.run['state_name']} after {timeout:g} s. It goes on; wait again, "
            f"or look at it with `headrace flow-run inspect {wait.run['id']}`."
        )
    return RecordedFlowRun(wait.run)


def _suspend_request(wait_for_input: Any, timeout: float | None, key: str | None) -> _Json:
    if wait_for_input is not None:
        raise ValueError(
            "wait_for_input is for a run that suspends itself: only its own code knows what to do with an answer. "
            "Leave it out together with flow_run_id."
        )
    details: _Json = {"pause_reschedule": True, "pause_key": key}
    if timeout is not None:
        expires = datetime.now(timezone.utc) + timedelta(seconds=timeout)
        details["pause_timeout"] = expires.isoformat()
    return {"type": "PAUSED", "name": "Suspended", "state_details": details}


def _suspend(id: str, state: _Json) -> None:
    from .client import calls
    from .connect import connect

    with connect(current_settings()) as connection:
        answer = calls.set_flow_run_state(connection, id, state)
    if answer["status"] != "ACCEPT":
        raise ApiError(
            f"The flow run {id} cannot be suspended: {answer['details'].get('reason')}", body=answer
        )


def _resume(id: str, run_input: _Json | None) -> None:
    from .connect import connect

    with connect(current_settings()) as connection:
        answer = connection.post(f"/flow_runs/{id}/resume", {"run_input": run_input})
    if answer["status"] == "ACCEPT":
        return
    reason = answer["details"].get("reason")
    state = answer.get("state") or {}
    if answer["status"] == "ABORT":
        raise NotPausedError(f"The flow run {id} is {state.get('name', 'in no state')}. {reason}")
    if state.get("type") == "FAILED" or "timed out" in str(reason):
        raise FlowPauseTimeout(f"The flow run {id} can no longer be resumed. {reason}")
    raise RunInputError(f"The flow run {id} stays paused. {reason}")
