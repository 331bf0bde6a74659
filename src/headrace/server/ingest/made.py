"""The rows of runs that a journal makes."""

from __future__ import annotations

from typing import Any

from headrace.model import entries
from headrace.model.runs import Run
from headrace.server.store.history import flow_state_columns, state_columns

from .lines import NAME_LIMIT


def flow_run_row(run: Run, entry: entries.FlowRun, flow_id: str, journal: str, now_us: int) -> dict[str, Any]:
    """Return the row of a new flow run."""
    return {
        "id": run.id,
        "flow_id": flow_id,
        "name": entry.name,
        "created_us": run.created,
        "updated_us": now_us,
        "flow_version": entry.version,
        "parameters": entry.parameters,
        "empirical_policy": _policy(entry),
        "tags": entry.tags or None,
        "labels": entry.labels or None,
        "parent_flow_run_id": entry.parent,
        "parent_task_run_id": entry.placeholder,
        "expected_start_us": run.created,
        **flow_state_columns(run, journal),
    }


def task_run_row(run: Run, entry: entries.TaskRun, journal: str) -> dict[str, Any]:
    """Return the row of a new task run."""
    return {
        "id": run.id,
        "flow_run_id": entry.flow_run,
        "task_key": entry.key,
        "dynamic_key": entry.dynamic_key,
        "name": entry.name,
        "created_us": run.created,
        "task_version": entry.version,
        "task_inputs": entry.inputs or None,
        "empirical_policy": _policy(entry),
        "tags": entry.tags or None,
        "flow_run_run_count": 1,
        "child_flow_run_id": None,
        "expected_start_us": run.created,
        **state_columns(run, journal),
    }


def stand_in_row(run: Run, entry: entries.FlowRun, journal: str) -> dict[str, Any]:
    """Return the row of the task run that stands for a subflow in its parent; its state is the subflow's."""
    dynamic_key = (entry.dynamic_key or "0")[:NAME_LIMIT]
    return {
        "id": entry.placeholder,
        "flow_run_id": entry.parent,
        "task_key": entry.flow,
        "dynamic_key": dynamic_key,
        "name": f"{entry.flow}-{dynamic_key}"[:NAME_LIMIT],
        "created_us": run.created,
        "task_version": entry.version,
        "task_inputs": entry.inputs or None,
        "empirical_policy": None,
        "tags": None,
        "flow_run_run_count": 1,
        "child_flow_run_id": run.id,
        "expected_start_us": run.created,
        **state_columns(run, journal),
    }


def planned_policy(entry: entries.FlowRun, kept: dict[str, Any] | None) -> dict[str, Any]:
    """Return the ``empirical_policy`` of a run that was planned, with what its own process knows of its retries."""
    told: dict[str, Any] = {"retries": entry.retries, "retry_delay": entry.retry_delay}
    if entry.retry_on is not None:
        told["retry_on"] = entry.retry_on
    return {**(kept or {}), **told}


def _policy(entry: entries.FlowRun | entries.TaskRun) -> dict[str, Any] | None:
    if not entry.retries and not entry.retry_delay:
        return None
    delay = entry.retry_delay
    if isinstance(delay, float) and delay.is_integer():
        delay = int(delay)  # as the contract writes it
    return {"retries": entry.retries, "retry_delay": delay}
