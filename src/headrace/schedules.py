"""When a deployment runs, as its author writes it: ``Cron("30 6 * * MON-FRI", timezone="Europe/Berlin")``."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from .errors import ScheduleError
from .model import schedules as model

__all__ = ["Cron", "Interval", "RRule", "Schedule"]


@dataclass(frozen=True)
class Schedule:
    """A schedule of a deployment: one of ``interval``, ``cron`` and ``rrule``, and what its runs are given.

    Raises:
        ScheduleError: none or several of them are given, one cannot be read, or it describes no time.
    """

    interval: timedelta | None = None
    cron: str | None = None
    rrule: str | None = None
    timezone: str | None = None
    """An IANA name; ``None`` is UTC."""
    anchor_date: datetime | None = None
    """What an interval counts from; ``None`` is now, and a time without zone is one of ``timezone``."""
    day_or: bool = True
    """Whether one of a cron's day fields is enough when both are given."""
    active: bool = True
    """Whether it plans runs."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of its runs, over the deployment's own; any JSON."""
    slug: str | None = None
    """A name that stays when the schedule is changed."""
    rule: model.Schedule = field(init=False, repr=False, compare=False)
    """The times alone, for ``headrace.model.schedules``."""

    def __post_init__(self) -> None:
        if self.interval is not None and self.anchor_date is None:
            object.__setattr__(self, "anchor_date", datetime.now(timezone.utc))
        object.__setattr__(self, "rule", model.parse(self._document()))

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first time (UTC) strictly after an aware moment, or ``None`` when there is none."""
        return model.next_after(self.rule, moment)

    def _document(self) -> dict[str, object]:
        given: dict[str, object] = {"cron": self.cron, "rrule": self.rrule, "anchor_date": self.anchor_date}
        if self.interval is not None:
            given["interval"] = self.interval.total_seconds()
        if not self.day_or:
            given["day_or"] = False
        return {
            "timezone": self.timezone,
            **{name: value for name, value in given.items() if value is not None},
        }


def Cron(  # noqa: N802  # the field's name
    cron: str,
    /,
    timezone: str | None = None,
    day_or: bool = True,
    active: bool = True,
    parameters: dict[str, Any] | None = None,
    slug: str | None = None,
) -> Schedule:
    """Return a schedule of the times that a cron expression names on the wall clock of a zone (UTC)."""
    return Schedule(
        cron=cron, timezone=timezone, day_or=day_or, active=active, parameters=parameters or {}, slug=slug
    )


def Interval(  # noqa: N802  # the field's name
    interval: float | timedelta,
    /,
    anchor_date: datetime | None = None,
    timezone: str | None = None,
    active: bool = True,
    parameters: dict[str, Any] | None = None,
    slug: str | None = None,
) -> Schedule:
    """Return a schedule of times an interval (a ``timedelta``, or seconds) apart, counted from an anchor."""
    return Schedule(
        interval=interval if isinstance(interval, timedelta) else _seconds(interval),
        anchor_date=anchor_date,
        timezone=timezone,
        active=active,
        parameters=parameters or {},
        slug=slug,
    )


def RRule(  # noqa: N802  # the field's name
    rrule: str,
    /,
    timezone: str | None = None,
    active: bool = True,
    parameters: dict[str, Any] | None = None,
    slug: str | None = None,
) -> Schedule:
    """Return a schedule of the times of a recurrence rule (RFC 5545)."""
    return Schedule(rrule=rrule, timezone=timezone, active=active, parameters=parameters or {}, slug=slug)


def _seconds(value: float) -> timedelta:
    try:
        return timedelta(seconds=value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ScheduleError(
            f"The interval {value!r} is no timedelta and no number of seconds.", field="interval"
        ) from error
