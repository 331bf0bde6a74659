"""How a flow run is made for a client: its row, its first state, and the news of it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from fastapi import HTTPException
from sqlalchemy.engine import Connection

from headrace.model.names import run_name
from headrace.server.orchestration.proposals import first_state
from headrace.server.orchestration.rules import Proposal
from headrace.server.store import flow_runs, task_runs
from headrace.wire.shapes.deployments import DeploymentFlowRunCreate
from headrace.wire.shapes.flow_runs import FlowRunCreate, FlowRunPolicy

from .context import Context
from .flow_run_events import state_event
from .states import proposal_of

Json = dict[str, Any]

_names = random.SystemRandom()


def new_row(body: FlowRunCreate | DeploymentFlowRunCreate, flow_id: str, id: str, now_us: int) -> Json:
    """Return the columns of a new run that are the same whoever asks for it."""
    return {
        "id": id,
        "flow_id": flow_id,
        "name": body.name or run_name(_names.getrandbits(32)),
        "created_us": now_us,
        "updated_us": now_us,
        "parameters": body.parameters or None,
        "context": body.context or None,
        "job_variables": body.job_variables,
        "empirical_policy": policy_of(body.empirical_policy) or None,
        "tags": unique(body.tags),
        "labels": {"prefect.flow.id": flow_id, **(body.labels or {})},
        "idempotency_key": body.idempotency_key,
        "parent_task_run_id": _text(body.parent_task_run_id),
        "infrastructure_document_id": _text(body.infrastructure_document_id),
    }


def insert(
    connection: Connection,
    at: Context,
    row: Json,
    body: FlowRunCreate | DeploymentFlowRunCreate,
    usual: Proposal,
) -> Json:
    """Insert a run in the state that was asked for, or else in the ``usual`` one; return the contract's object.

    Raises:
        HTTPException: 409, when the task run that is to stand for it is not there.
    """
    if row["parent_task_run_id"] is not None:
        row = {**row, "parent_flow_run_id": _parent_of(connection, row["parent_task_run_id"])}
    [made] = insert_all(connection, at, [with_state(at, row, body, usual)])
    if row["parent_task_run_id"] is not None:  # now, as flow runs are locked before task runs
        task_runs.change(connection, row["parent_task_run_id"], {"child_flow_run_id": row["id"]})
    return made


def with_state(
    at: Context, row: Json, body: FlowRunCreate | DeploymentFlowRunCreate, usual: Proposal
) -> Json:
    """Return all columns of a new run: in the state that was asked for, or else in the ``usual`` one."""
    proposal = proposal_of(body.state) if body.state is not None else usual
    return row | first_state(row, proposal, is_flow=True, now_us=row["created_us"], id=at.new_id())


def insert_all(connection: Connection, at: Context, rows: Sequence[Json]) -> list[Json]:
    """Insert runs, given all of their columns, by a few statements; return the contract's objects."""
    flow_runs.create(connection, rows)
    return flow_runs.in_order(connection, [row["id"] for row in rows], at.now_us())


def publish(at: Context, run: Json, before: Json | None) -> None:
    """Tell listeners of the state that a run has entered."""
    publish_all(at, [(run, before)])


def publish_all(at: Context, runs: Sequence[tuple[Json, Json | None]]) -> None:
    """Tell listeners of the states that runs have entered, each with the state that it was in before."""
    for run, before in runs:
        if run["state"] is not None:
            at.feed.publish(state_event(run, before, at.now_us()))
    places = {run[name] for run, _ in runs for name in ("work_queue_id", "deployment_id")}
    at.openings.ring(*places)  # work for a worker, or room for other work


def policy_of(policy: FlowRunPolicy) -> Json:
    """Return an ``empirical_policy`` as it is kept: without what is as usual."""
    kept = policy.model_dump(mode="json", exclude_defaults=True)
    if kept.get("pause_keys"):
        kept["pause_keys"] = sorted(kept["pause_keys"])
    return kept


def unique(tags: Iterable[str]) -> list[str] | None:
    """Return tags without repetitions as they are kept; ``None`` for none."""
    return list(dict.fromkeys(tags)) or None


def _text(id: UUID | None) -> str | None:
    return None if id is None else str(id)


def _parent_of(connection: Connection, placeholder: str) -> str | None:
    """Return the flow run of the task run that is to stand for a new subflow run."""
    row = task_runs.row_of(connection, placeholder)
    if row is None:
        raise HTTPException(409, f"Task run {placeholder} (parent_task_run_id) not found.")
    parent: str | None = row["flow_run_id"]
    return parent
