"""How a run's story is kept in its row: packed small, because there are many.

A history is a JSON array with one array for each state: ``[kind, +µs, +bytes, message, details, id, rank,
attempt]``. Times and journal offsets count from the state before (the first from the run's creation and
from byte 0). What is as usual is left out from the end on: most states are ``[kind, +µs, +bytes]``. An id
that follows from the journal and the offset (:func:`~headrace.model.ids.state_id_at`) is ``null``. A kind
is its number in :data:`KIND_CODES`, or ``[type, name]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.engine import RowMapping

from headrace.model import entries
from headrace.model.clock import from_datetime, iso
from headrace.model.ids import state_id_at
from headrace.model.resolve import Rank, StateRow, Strength
from headrace.model.runs import Run
from headrace.model.states import BY_NAME, holds_slot

KIND_CODES: tuple[str, ...] = (
    "Scheduled", "Pending", "Running", "Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Paused",
    "Late", "AwaitingRetry", "Retrying", "TimedOut", "Terminated", "OutOfMemory", "Lost", "Interrupted",
    "NotReady", "Submitting", "InfrastructurePending", "Resuming", "AwaitingConcurrencySlot", "Cached",
    "RolledBack", "LoadError", "Suspended",
)  # fmt: skip
"""State names by their number in stored histories: append only, never reorder."""

DATA = "data"
"""The key of ``StateRow.details`` that holds the contract's ``state.data`` of a foreign client."""

_KINDS: list[tuple[str, str]] = [(BY_NAME[name].type.value, name) for name in KIND_CODES]
_CODES: dict[tuple[str, str], int] = {kind: code for code, kind in enumerate(_KINDS)}
_USUAL: tuple[Any, ...] = (None, None, None, int(Rank.FACT), 1)
_NO_JOURNAL = "00000000-0000-0000-0000-000000000000"
_Row = RowMapping | Mapping[str, Any]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[list[Any]]).decode

CREATED = entries.TaskRun("", 0, "", "", "")
"""Stands for the record that made a run whose row exists: such a run is not made again."""


def encode_history(history: list[StateRow], journal: str | None, base_us: int) -> str:
    """Return what :func:`decode_history` reads, for a run that ``journal`` owns and was made at ``base_us``."""
    packed = []
    time, place = base_us, 0
    for row in history:
        kind = _CODES.get((row.type, row.name))
        cells: list[Any] = [
            kind if kind is not None else [row.type, row.name],
            row.t - time,
            row.offset - place,
        ]
        time, place = row.t, row.offset
        derived = journal is not None and row.id == state_id_at(journal, place)
        rest = (row.message, row.details, None if derived else row.id, row.rank, row.attempt)
        if rest != _USUAL:
            cells.extend(rest)
            while cells[-1] == _USUAL[len(cells) - 4]:
                cells.pop()
        packed.append(cells)
    return _encode(packed).decode()


def decode_history(text: str, journal: str | None, base_us: int) -> list[StateRow]:
    """Return the states that :func:`encode_history` packed with the same ``journal`` and ``base_us``."""
    history = []
    time, place = base_us, 0
    for cells in _decode(text):
        kind, after_us, further, *rest = cells
        time, place = time + after_us, place + further
        message, details, id, rank, attempt = (*rest, *_USUAL[len(rest) :])
        type, name = _KINDS[kind] if isinstance(kind, int) else kind
        if id is None:
            id = state_id_at(journal or _NO_JOURNAL, place)
        history.append(StateRow(id, type, name, time, rank, attempt, place, message, details))
    return history


def state_columns(run: Run, journal: str | None) -> dict[str, Any]:
    """Return every state column of a run's row (see ``tables.py``); ``journal`` is the one that owns it."""
    state, strength = run.state, run.strength
    if state is None:
        return _NO_STATE | {"journal_id": journal}
    last = bool(run.history) and run.history[-1] == state
    scheduled = state.type == "SCHEDULED"
    return {
        "journal_id": journal,
        "state_type": state.type,
        "state_name": state.name,
        "state_us": state.t,
        "state": None if last else encode_history([state], journal, run.created),
        "history": encode_history(run.history, journal, run.created),
        "attempt": strength.attempt,
        "level": strength.level,
        "ord": strength.order,
        "run_count": run.run_count,
        "next_scheduled_us": (scheduled_us(state) or state.t) if scheduled else None,
        "start_us": run.start,
        "end_us": run.end,
        "running_us": run.running_us,
        "running_since_us": state.t if state.type == "RUNNING" else None,
    }


def flow_state_columns(run: Run, journal: str | None) -> dict[str, Any]:
    """Return every state column of a flow run's row: those of any run, and whether it holds its slots."""
    return {**state_columns(run, journal), "holds_slot": holds(run.state, journaled=journal is not None)}


def holds(state: StateRow | None, *, journaled: bool) -> bool:
    """Say whether a flow run in this state holds its slots; ``journaled``: its own process reports in a journal."""
    return state is not None and holds_slot(
        state.type,
        by_process=journaled and state.rank == Rank.FACT,
        suspended=bool((state.details or {}).get("pause_reschedule")),
    )


_NO_STATE: dict[str, Any] = dict.fromkeys(
    ("state_type", "state_name", "state_us", "state", "history", "next_scheduled_us", "start_us", "end_us",
     "running_since_us")
) | {"attempt": 0, "level": 0, "ord": 0, "run_count": 0, "running_us": 0}  # fmt: skip


def scheduled_us(state: StateRow) -> int | None:
    """Return the time for which a state is planned, ``None`` when its details name none that can be read."""
    return moment_in(state.details or {}, "scheduled_time")


def moment_in(details: Mapping[str, Any], name: str) -> int | None:
    """Return a time that details hold under a name, ``None`` when there is none that can be read."""
    text = details.get(name)
    if not isinstance(text, str):
        return None
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return from_datetime(moment)


def run_of(row: _Row, *, is_flow: bool) -> Run:
    """Return the run that a row of ``flow_runs`` or ``task_runs`` tells of, ready to be reported on."""
    history = history_of(row)
    return Run(
        row["id"],
        is_flow,
        row["created_us"],
        CREATED,
        _standing(row, history),
        Strength(row["attempt"], row["level"], row["ord"]),
        history,
        row["run_count"],
        row["start_us"],
        row["end_us"],
        row["running_us"],
    )


def history_of(row: _Row) -> list[StateRow]:
    """Return a row's states, oldest first; empty when it has none."""
    text = row["history"]
    return decode_history(text, row["journal_id"], row["created_us"]) if text else []


def state_of(row: _Row) -> StateRow | None:
    """Return the state that stands for a row, ``None`` when it has none."""
    return _standing(row, history_of(row) if row["state"] is None else [])


def _standing(row: _Row, history: list[StateRow]) -> StateRow | None:
    if row["state"] is not None:
        return decode_history(row["state"], row["journal_id"], row["created_us"])[0]
    return history[-1] if history else None


def state_json(state: StateRow) -> dict[str, Any]:
    """Return the contract's State; what the contract does not name stays inside ``state_details``."""
    details = dict(state.details or {})
    data = details.pop(DATA, None)
    return {
        "id": state.id,
        "type": state.type,
        "name": state.name,
        "timestamp": iso(state.t),
        "message": state.message,
        "data": data,
        "state_details": details,
    }
