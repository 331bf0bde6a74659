"""Slots of concurrency limits over HTTP: those that runs hold of their deployments' limits.

There are no limits with names of their own yet, so nobody is held up. A client asks for slots whenever a task has
tags. To it a name without a limit is no error: it gets a lease on nothing, and goes on.

A run's slot of its deployment is its state, so it cannot leak. Clients of the contract are told a lease on it, whose
id is the run's own: to renew it asks whether the run still lives, and to give it back changes nothing.
"""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from headrace.server.store import flow_runs
from headrace.wire.shapes.concurrency import (
    ConcurrencyLimitWithLeaseResponse,
    LeaseRenewal,
    LeaseReturn,
    MinimalConcurrencyLimitResponse,
    SlotsWanted,
    SlotsWantedWithLease,
)

from .answers import Json, no_content
from .body import StrictRoute
from .context import context

router = APIRouter(prefix="/v2/concurrency_limits", tags=["Concurrency Limits V2"], route_class=StrictRoute)


@router.post("/increment", response_model=list[MinimalConcurrencyLimitResponse])
async def bulk_increment_active_slots(body: SlotsWanted) -> Response:  # noqa: ARG001  # checked, and that is all
    """Take slots of the limits of these names: there are none."""
    return Json([])


@router.post("/increment-with-lease", response_model=ConcurrencyLimitWithLeaseResponse)
async def bulk_increment_active_slots_with_lease(
    request: Request,
    body: SlotsWantedWithLease,  # noqa: ARG001  # checked, and that is all
) -> Response:
    """Take slots of the limits of these names, until a lease ends: there are none."""
    return Json({"lease_id": context(request).new_id(), "limits": []})


@router.post("/leases/{lease_id:uuid}/renew", status_code=204)
def renew_concurrency_lease(
    request: Request,
    lease_id: UUID,
    body: LeaseRenewal | None = None,  # noqa: ARG001  # checked: the slot ends with its run, not at a time
) -> Response:
    """Let a lease last longer; 410 when it is a run's that has ended."""
    with context(request).database.read() as connection:
        ended = flow_runs.has_ended(connection, str(lease_id))
    if ended:
        raise HTTPException(
            410, f"Lease {lease_id} is gone: flow run {lease_id} has ended, and its slot with it."
        )
    return no_content()


@router.post("/decrement-with-lease", status_code=204)
async def bulk_decrement_active_slots_with_lease(body: LeaseReturn) -> Response:  # noqa: ARG001
    """Give a lease back; one that nobody knows is fine."""
    return no_content()
