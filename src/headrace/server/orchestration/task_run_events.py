"""Build task runs from the events of clients that orchestrate their tasks themselves (WIRE.md, section 3).

Such a client makes no REST call for a task run: each change of its state is an event. Events may come late
or twice; an event's id is its state's id, and its time says which state is the newest.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.engine import Connection

from headrace.model.clock import from_datetime
from headrace.model.resolve import Rank, StateRow, merge_history, strength_of
from headrace.model.runs import Run
from headrace.model.states import DEFAULT_NAME, TERMINAL, StateType
from headrace.server.store import history, task_runs
from headrace.wire.text import mend

_log = logging.getLogger("headrace.server")

PREFIX = "prefect.task-run."
Json = dict[str, Any]


class _State(msgspec.Struct):
    type: StateType
    name: str | None = None
    message: str | None = None
    state_details: Json | None = None
    data: Any = None


class _TaskRun(msgspec.Struct):
    task_key: str
    dynamic_key: str
    name: str | None = None
    empirical_policy: Json | None = None
    tags: list[str] | None = None
    labels: Json | None = None
    task_inputs: Json | None = None
    task_version: str | None = None
    run_count: int = 0
    flow_run_run_count: int = 0
    expected_start_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    total_run_time: float = 0.0
    cache_key: str | None = None
    cache_expiration: datetime | None = None


class TaskRunEvent(msgspec.Struct):
    """A task run's change of state, as an event told it."""

    task_run_id: str
    flow_run_id: str | None
    state: StateRow
    run: _TaskRun


def read(event: Json) -> TaskRunEvent | None:
    """Return what an event says of a task run; ``None`` when it says nothing of one.

    Raises:
        ValueError: it should, and cannot be understood; the text says which part.
    """
    resource = event.get("resource")
    if not isinstance(resource, dict) or resource.get("prefect.orchestration") != "client":
        return None
    id = _suffix(str(resource.get("prefect.resource.id", "")), PREFIX)
    if id is None:
        return None
    payload = event.get("payload") or {}
    # msgspec's ValidationError is a ValueError; it names the path of what does not fit
    state = msgspec.convert(payload.get("validated_state"), _State)
    run = msgspec.convert(payload.get("task_run"), _TaskRun)
    occurred = from_datetime(msgspec.convert(event.get("occurred"), datetime))
    return TaskRunEvent(_id(id), _flow_run_of(event), _state_row(_id(event.get("id")), occurred, state), run)


def _suffix(text: str, prefix: str) -> str | None:
    return text[len(prefix) :] if text.startswith(prefix) else None


def _id(value: object) -> str:
    return str(UUID(str(value)))


def _flow_run_of(event: Json) -> str | None:
    for related in event.get("related") or []:
        if isinstance(related, dict) and related.get("prefect.resource.role") == "flow-run":
            id = _suffix(str(related.get("prefect.resource.id", "")), "prefect.flow-run.")
            return None if id is None else _id(id)
    return None


def _state_row(id: str, occurred: int, state: _State) -> StateRow:
    details = {key: value for key, value in (state.state_details or {}).items() if value not in (None, False)}
    if state.data is not None:
        details[history.DATA] = state.data
    kind = state.type.value
    name = mend(state.name or DEFAULT_NAME[kind])[:200]
    message = None if state.message is None else mend(state.message)
    return StateRow(id, kind, name, occurred, Rank.PROPOSAL, 1, 0, message, details or None)


def take(connection: Connection, events: Sequence[TaskRunEvent], now_us: int) -> None:
    """Write down what events say; what is known already changes nothing."""
    for event in events:
        row = task_runs.lock(connection, event.task_run_id)
        if row is None:
            _make(connection, event, now_us)
        elif row["journal_id"] is None:
            _change(connection, row, event)


def _make(connection: Connection, event: TaskRunEvent, now_us: int) -> None:
    told = event.run
    created = min(event.state.t, now_us)
    run = Run(event.task_run_id, False, created)
    row = {
        "id": event.task_run_id,
        "flow_run_id": event.flow_run_id,
        "task_key": mend(told.task_key)[:500],
        "dynamic_key": mend(told.dynamic_key)[:500],
        "created_us": created,
        "expected_start_us": _us(told.expected_start_time) or event.state.t,
        **_told(told),
        **_entered(run, event),
    }
    if not task_runs.create_if_free(connection, row):
        _log.warning(
            "The event %s was passed over: another task run of flow run %s has the keys %s, %s.",
            event.state.id,
            event.flow_run_id,
            told.task_key,
            told.dynamic_key,
        )


def _change(connection: Connection, row: Any, event: TaskRunEvent) -> None:
    run = history.run_of(row, is_flow=False)
    if any(state.id == event.state.id for state in run.history):
        return
    before = run.state
    newest = before is None or _order(before) < _order(event.state)
    if newest:
        task_runs.change(connection, row["id"], {**_told(event.run), **_entered(run, event)})
        return
    run.history = merge_history(run.history, event.state)
    columns = history.state_columns(run, None)
    task_runs.change(connection, row["id"], {name: columns[name] for name in ("state", "history")})


def _order(state: StateRow) -> tuple[int, bool]:
    return state.t, state.type in TERMINAL


def _entered(run: Run, event: TaskRunEvent) -> Json:
    """Return the state columns of a run that enters the event's state, with the counts that the client keeps."""
    told, state = event.run, event.state
    run.history = merge_history(run.history, state)
    run.state, run.strength = state, strength_of(state)
    run.run_count, run.start = told.run_count, _us(told.start_time)
    run.end = (_us(told.end_time) or state.t) if state.type in TERMINAL else None
    run.running_us = max(0, int(told.total_run_time * 1e6))
    return history.state_columns(run, None)


def _told(told: _TaskRun) -> Json:
    return {
        "name": mend(told.name or told.task_key)[:500],
        "task_version": told.task_version,
        "empirical_policy": told.empirical_policy,
        "tags": [mend(tag) for tag in told.tags or ()] or None,
        "labels": told.labels or None,
        "task_inputs": told.task_inputs or None,
        "flow_run_run_count": told.flow_run_run_count,
        "cache_key": None if told.cache_key is None else mend(told.cache_key),
        "cache_expiration_us": _us(told.cache_expiration),
    }


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else from_datetime(moment)
