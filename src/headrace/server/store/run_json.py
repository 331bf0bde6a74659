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
    Rank.PROPOSAL: ("proposal", "server"),
    Rank.FORCED: ("forced", "client"),
}
"""``{rank: (its word, who speaks so)}``"""


_DETAILS: Json = {
    **dict.fromkeys(
        (
            "flow_run_id", "task_run_id", "child_flow_run_id", "scheduled_time", "cache_key", "cache_expiration",
            "pause_timeout", "pause_key", "run_input_keyset", "refresh_cache", "retriable", "transition_id",
            "task_parameters_id", "traceparent", "deployment_concurrency_lease_id",
        )
    ),
    "deferred": False,
    "untrackable_result": False,
    "pause_reschedule": False,
}  # fmt: skip


def state(row: StateRow) -> Json:
    """Return the contract's State with every field of its details; most are not kept, being as usual."""
    answer = state_json(row)
    answer["state_details"] = {**_DETAILS, **answer["state_details"]}
    return answer


def _own_state(now: StateRow, row: Mapping[str, Any]) -> Json:
    """Return a run's state, its details naming the run: that is not kept with each state, for the row knows."""
    answer = state(now)
    is_task = "task_key" in row
    own = {
        "flow_run_id": row["flow_run_id"] if is_task else row["id"],
        "task_run_id": row["id"] if is_task else None,
        "child_flow_run_id": row["child_flow_run_id"] if is_task else None,
    }
    details = answer["state_details"]
    answer["state_details"] = {**details, **{name: id for name, id in own.items() if details[name] is None}}
    return answer


def moment(value_us: int | None) -> str | None:
    """Return the contract's text of a moment, or ``None``."""
    return None if value_us is None else iso(value_us)


def shared(row: Mapping[str, Any], now_us: int) -> Json:
    """Return the fields that tell a run's state and times."""
    now = state_of(row)
    running_us = row["running_us"]
    since = row["running_since_us"]
    so_far_us = running_us + (max(0, now_us - since) if since is not None else 0)
    return {
        "id": row["id"],
        "created": iso(row["created_us"]),
        "name": row["name"],
        "tags": row["tags"] or [],
        "labels": row["labels"] or {},
        "state_id": now.id if now else None,
        "state_type": row["state_type"],
        "state_name": row["state_name"],
        "state": _own_state(now, row) if now else None,
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
    return [_entry(one) for one in history_of(row)]


def _entry(one: StateRow) -> Json:
    rank, source = SOURCES[one.rank]
    entry = state_json(one)
    del entry["data"]  # a result's record: only the state that stands is asked for it
    return {**entry, "rank": rank, "source": source, "attempt": one.attempt}
