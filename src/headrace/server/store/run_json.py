"""The part of the contract's objects that flow runs and task runs have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.model.clock import iso
from headrace.model.resolve import Rank, StateRow
from headrace.model.states import is_over

from .history import history_of, state_json, state_of

Json = dict[str, Any]

SOURCES: dict[int, tuple[str, str]] = {
    Rank.PRESUMPTION: ("presumption", "server"),
    Rank.VERDICT: ("verdict", "supervisor"),
    Rank.FACT: ("fact", "run"),
    Rank.PROPOSAL: ("proposal", "client"),
    Rank.FORCED: ("forced", "client"),
}
"""``{rank: (its word, who speaks so)}``"""


def moment(value_us: int | None) -> str | None:
    """Return the contract's text of a moment, or ``None``."""
    return None if value_us is None else iso(value_us)


def shared(row: Mapping[str, Any], now_us: int) -> Json:
    """Return the fields that tell a run's state and times."""
    state = state_of(row)
    running_us = row["running_us"]
    since = row["running_since_us"]
    so_far_us = running_us + (max(0, now_us - since) if since is not None else 0)
    return {
        "id": row["id"],
        "created": iso(row["created_us"]),
        "name": row["name"],
        "tags": row["tags"] or [],
        "labels": row["labels"] or {},
        "state_id": state.id if state else None,
        "state_type": row["state_type"],
        "state_name": row["state_name"],
        "state": state_json(state) if state else None,
        "run_count": row["run_count"],
        "expected_start_time": moment(row["expected_start_us"]),
        "next_scheduled_start_time": moment(row["next_scheduled_us"]),
        "start_time": moment(row["start_us"]),
        "end_time": moment(row["end_us"]),
        "total_run_time": running_us / 1e6,
        "estimated_run_time": so_far_us / 1e6,
        "estimated_start_time_delta": _late_us(row, now_us) / 1e6,
    }


def _late_us(row: Mapping[str, Any], now_us: int) -> int:
    expected, started = row["expected_start_us"], row["start_us"]
    if expected is None:
        return 0
    if started is not None:
        return int(max(0, started - expected))
    waits = row["state_type"] is not None and not is_over(row["state_type"], row["state_name"])
    return int(max(0, now_us - expected)) if waits else 0


def history_json(row: Mapping[str, Any]) -> list[Json]:
    """Return a run's states, oldest first, each with who said so."""
    return [_entry(state) for state in history_of(row)]


def _entry(state: StateRow) -> Json:
    rank, source = SOURCES[state.rank]
    entry = state_json(state)
    del entry["data"]  # a result's record: only the state that stands is asked for it
    return {**entry, "rank": rank, "source": source, "attempt": state.attempt}
