"""Proposed states over HTTP, and states read back."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from headrace.server.orchestration.proposals import Outcome
from headrace.server.orchestration.rules import Proposal, default_name
from headrace.server.store import states
from headrace.wire.shapes.states import State, StateCreate

from .answers import Json, not_found
from .body import StrictRoute
from .context import context

router = APIRouter(route_class=StrictRoute, tags=["States"])


def proposal_of(state: StateCreate, *, force: bool = False) -> Proposal:
    """Return what a request proposes."""
    return Proposal(
        state.type.value,
        default_name(state.type.value, state.name),
        state.message,
        state.state_details.model_dump(mode="json", exclude_unset=True),
        state.data,
        force,
    )


def answer(outcome: Outcome) -> Json:
    """Answer a proposal: 201 when a state was written, 200 when nothing changed."""
    return Json(outcome.to_json(), 201 if outcome.changed else 200)


@router.get("/flow_run_states/", response_model=list[State])
def read_flow_run_states(request: Request, flow_run_id: UUID) -> Response:
    """Return the states of a flow run, oldest first; none when there is no such run."""
    with context(request).database.read() as connection:
        return Json(states.of_flow_run(connection, str(flow_run_id)))


@router.get("/flow_run_states/{id:uuid}", response_model=State)
def read_flow_run_state(request: Request, id: UUID) -> Response:
    """Return a state of a flow run by its own id."""
    with context(request).database.read() as connection:
        state = states.find_of_flow_runs(connection, str(id))
    if state is None:
        raise not_found("Flow run state")
    return Json(state)


@router.get("/task_run_states/", response_model=list[State])
def read_task_run_states(request: Request, task_run_id: UUID) -> Response:
    """Return the states of a task run, oldest first; none when there is no such run."""
    with context(request).database.read() as connection:
        return Json(states.of_task_run(connection, str(task_run_id)))


@router.get("/task_run_states/{id:uuid}", response_model=State)
def read_task_run_state(request: Request, id: UUID) -> Response:
    """Return a state of a task run by its own id."""
    with context(request).database.read() as connection:
        state = states.find_of_task_runs(connection, str(id))
    if state is None:
        raise not_found("Task run state")
    return Json(state)
