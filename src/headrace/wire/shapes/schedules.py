"""Schedules of deployments on the wire."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from headrace.errors import ScheduleError
from headrace.model import schedules
from headrace.wire.text import JsonObject, Positive, Text

_SOME_TIME = datetime(2000, 1, 1, tzinfo=timezone.utc)


class _Rule(BaseModel):
    """Base of the three kinds: what cannot be read as a schedule is refused."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="after")
    def _readable(self) -> Any:
        try:
            self.read(_SOME_TIME)
        except ScheduleError as error:
            raise PydanticCustomError("schedule", "{why}", {"why": str(error)}) from error
        return self

    def read(self, now: datetime) -> schedules.Schedule:
        """Return the schedule; ``now`` anchors an interval that names no anchor."""
        return schedules.parse(self.model_dump(mode="json"), now=now)


class CronSchedule(_Rule):
    """Times that fit a cron expression."""

    cron: Text
    timezone: Text | None = None
    day_or: bool = True


class IntervalSchedule(_Rule):
    """Times at a distance of ``interval``: seconds, or text such as ``PT1H30M``."""

    interval: Annotated[float, Field(gt=0)] | Text
    anchor_date: datetime | None = None
    timezone: Text | None = None


class RRuleSchedule(_Rule):
    """Times that a calendar rule (RFC 5545) names."""

    rrule: Text
    timezone: Text | None = "UTC"


def _of_its_kind(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Read a schedule as the kind that it names, so that only errors of that kind are told."""
    named = [kind for name, kind in _KINDS.items() if name in value] if isinstance(value, dict) else []
    return named[0].model_validate(value) if named else handler(value)


_KINDS: dict[str, type[_Rule]] = {"cron": CronSchedule, "interval": IntervalSchedule, "rrule": RRuleSchedule}

AnySchedule = Annotated[IntervalSchedule | CronSchedule | RRuleSchedule, WrapValidator(_of_its_kind)]


class DeploymentScheduleCreate(BaseModel):
    """A schedule to be made; ``replaces`` names one by its slug that it takes the place of."""

    model_config = ConfigDict(extra="forbid")

    schedule: AnySchedule
    active: bool = True
    max_scheduled_runs: Positive | None = None
    parameters: JsonObject = Field(default_factory=dict)
    slug: Text | None = None
    replaces: Text | None = None


class DeploymentScheduleUpdate(BaseModel):
    """What of a schedule may be changed; absent means leave, ``null`` means clear."""

    model_config = ConfigDict(extra="forbid")

    schedule: AnySchedule | None = None
    active: bool | None = None
    max_scheduled_runs: Positive | None = None
    parameters: JsonObject = Field(default_factory=dict)
    slug: Text | None = None
    replaces: Text | None = None


class DeploymentSchedule(BaseModel):
    """A schedule of a deployment."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    created: datetime | None
    updated: datetime | None
    deployment_id: UUID | None = None
    schedule: AnySchedule
    active: bool = True
    max_scheduled_runs: Positive | None = None
    parameters: JsonObject = Field(default_factory=dict)
    slug: str | None = None
