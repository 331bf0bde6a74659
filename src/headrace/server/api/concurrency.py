"""Slots of concurrency limits over HTTP: there are no limits yet, so nobody is held up.

A client asks for slots whenever a task has tags. To it a name without a limit is no error: it gets a lease
on nothing, and goes on.
"""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

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
async def renew_concurrency_lease(lease_id: UUID, body: LeaseRenewal | None = None) -> Response:  # noqa: ARG001
    """Let a lease last longer."""
    return no_content()


@router.post("/decrement-with-lease", status_code=204)
async def bulk_decrement_active_slots_with_lease(body: LeaseReturn) -> Response:  # noqa: ARG001
    """Give a lease back; one that nobody knows is fine."""
    return no_content()
