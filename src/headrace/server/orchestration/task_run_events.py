"""Build task runs from the events of clients that orchestrate their tasks themselves (WIRE.md, section 3).

Such a client makes no REST call for a task run: each change of its state is an event. Events may come late
or twice; an event's id is its state's id, and its time says which state is the newest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
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


def take(connection: Connection, events: Iterable[TaskRunEvent], now_us: int) -> None:
    """Write down what events say; what is known already changes nothing. Task runs are taken by id, each once."""
    told: dict[str, list[TaskRunEvent]] = {}
    for event in events:
        told.setdefault(event.task_run_id, []).append(event)
    held = task_runs.lock(connection, sorted(told))
    new = {id: _made(of, now_us) for id, of in sorted(told.items()) if id not in held}
    task_runs.change_many(connection, [_changed(row, told[id]) for id, row in held.items()])
    for id in task_runs.create_free(connection, list(new.values())):
        _take_late(connection, id, told[id])


def _take_late(connection: Connection, id: str, events: Sequence[TaskRunEvent]) -> None:
    """Take events of a task run that could not be made: somebody else just did, or its keys are another's."""
    held = task_runs.lock(connection, [id])
    if held:
        task_runs.change_many(connection, [_changed(held[id], events)])
        return
    _log.warning(
        "%d events of task run %s were passed over: another task run of flow run %s has the keys %s, %s.",
        len(events),
        id,
        events[0].flow_run_id,
        events[0].run.task_key,
        events[0].run.dynamic_key,
    )


def _made(events: Sequence[TaskRunEvent], now_us: int) -> Json:
    """Return the row of a task run of which nothing was known."""
    first = events[0]
    told, created = first.run, min(first.state.t, now_us)
    run = Run(first.task_run_id, False, created)
    row = {
        "id": first.task_run_id,
        "flow_run_id": first.flow_run_id,
        "task_key": mend(told.task_key)[:500],
        "dynamic_key": mend(told.dynamic_key)[:500],
        "created_us": created,
        "expected_start_us": _us(told.expected_start_time) or first.state.t,
        **_told(told),
        **_entered(run, first),
    }
    for event in events[1:]:
        row.update(_after(run, event))
    return row


def _changed(row: Any, events: Sequence[TaskRunEvent]) -> Json:
    """Return the columns of a row that events change, with its id; none of one that has a journal, which knows better."""
    changes = {"id": row["id"]}
    if row["journal_id"] is None:
        run = history.run_of(row, is_flow=False)
        for event in events:
            changes.update(_after(run, event))
    return changes


def _after(run: Run, event: TaskRunEvent) -> Json:
    """Let a run have been where an event says; return the columns that change."""
    if any(state.id == event.state.id for state in run.history):
        return {}
    before = run.state
    if before is None or _order(before) < _order(event.state):
        return {**_told(event.run), **_entered(run, event)}
    run.history = merge_history(run.history, event.state)
    columns = history.state_columns(run, None)
    return {name: columns[name] for name in ("state", "history")}


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
