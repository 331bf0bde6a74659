"""Claims on the wire: ours, beside the contract. The answer is ``model.orders.Claims``."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.wire.text import JsonObject, Name

LONGEST_WAIT_S = 60.0
"""Seconds that a worker may ask to wait; the server's own limit is shorter."""


class _Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")

    worker_id: UUID
    """One life of the worker: a new one each time it starts."""
    worker_name: Name
    limit: Annotated[int, Field(ge=0, le=10_000)] = 1
    """How many runs it takes now; 0 asks for none and still is a sign of life."""
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT_S)] = 0.0
    """Seconds to wait for a run."""
    have: Annotated[list[UUID], Field(max_length=10_000)] = []
    """Journals of the attempts that it was given; those that it does not name are given again."""


class PoolClaim(_Ask):
    """A worker asks for runs of a pool."""

    work_queue_names: Annotated[list[Name], Field(max_length=200)] | None = None
    """``None``: of all its queues."""


class DeploymentClaim(_Ask):
    """A process that serves deployments asks for their runs."""

    deployment_ids: Annotated[list[UUID], Field(max_length=200)]


class ClaimConfirmation(BaseModel):
    """A worker says that it has been given attempts and begins them now."""

    model_config = ConfigDict(extra="forbid")

    worker_id: UUID
    journals: Annotated[list[UUID], Field(max_length=1_000)]


class ConfirmedClaims(BaseModel):
    """The attempts that are still the worker's: those it may begin."""

    journals: list[UUID] = []


class ClaimsResponse(BaseModel):
    """Attempts that are now the worker's, and how their processes are to be set up."""

    claims: list[JsonObject] = []
    template: dict[str, Any] = {}
    paused: bool = False
