"""Slots of limits on the wire, as far as they are served: no limit can be made yet."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.wire.text import Text


class ConcurrencyLeaseHolder(BaseModel):
    """Who holds slots."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["flow_run", "task_run", "deployment"]
    id: UUID


class _Slots(BaseModel):
    names: list[Text] = Field(min_length=1)
    slots: int = Field(gt=0)
    mode: Literal["concurrency", "rate_limit"] = "concurrency"


class SlotsWanted(_Slots):
    """Which slots are asked for."""

    create_if_missing: bool | None = None


class SlotsWantedWithLease(_Slots):
    """Which slots are asked for, until when, by whom."""

    lease_duration: float = Field(default=300, ge=60, le=86_400)
    """Seconds."""
    holder: ConcurrencyLeaseHolder | None = None


class LeaseRenewal(BaseModel):
    """How much longer a lease is to last."""

    lease_duration: float = Field(default=300, ge=60, le=86_400)
    """Seconds."""


class LeaseReturn(BaseModel):
    """Which lease is given back."""

    lease_id: UUID


class MinimalConcurrencyLimitResponse(BaseModel):
    """A limit of which slots were taken."""

    id: UUID
    name: str
    limit: int


class ConcurrencyLimitWithLeaseResponse(BaseModel):
    """What was taken, under one lease."""

    lease_id: UUID
    limits: list[MinimalConcurrencyLimitResponse]
