"""The schedules of a deployment, from the forms in which people give them to the one that the server takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ..errors import DeploymentError, ScheduleError
from ..model import schedules as rules

Json = dict[str, Any]

_BESIDE = ("active", "parameters", "slug", "max_scheduled_runs")
"""What a schedule has beside its times."""


def schedules_of(
    *, interval: Any = None, cron: Any = None, rrule: Any = None, schedule: Any = None, schedules: Any = None
) -> list[Json] | None:
    """Return schedules as the server takes them, or ``None`` when none of the arguments is given.

    ``interval`` (``timedelta`` or seconds), ``cron`` and ``rrule`` may each be one or a list. A schedule is a
    :class:`headrace.schedules.Schedule`, or a mapping as in ``headrace.yaml``.

    Raises:
        DeploymentError: more than one of the arguments is given.
        ScheduleError: one cannot be read.
    """
    given = {
        name: value
        for name, value in (
            ("interval", interval),
            ("cron", cron),
            ("rrule", rrule),
            ("schedule", schedule),
            ("schedules", schedules),
        )
        if value is not None
    }
    if not given:
        return None
    if len(given) > 1:
        raise DeploymentError(
            f"Both {' and '.join(given)} are given. Give one of them; schedules=[Cron(...), Interval(...)] takes several."
        )
    ((kind, value),) = given.items()
    several = value if isinstance(value, (list, tuple)) else [value]
    if kind in ("interval", "cron", "rrule"):
        return [_wire({kind: one}) for one in several]
    return [_one(one) for one in several]


def _one(schedule: Any) -> Json:
    if isinstance(schedule, Mapping):
        return _wire(schedule)
    rule = getattr(schedule, "rule", None)
    if rule is None:
        raise ScheduleError(
            f"{schedule!r} is no schedule. Give Cron(...), Interval(...) or RRule(...) of headrace.schedules."
        )
    beside = {name: getattr(schedule, name, None) for name in _BESIDE}
    return {"schedule": rules.to_json(rule), **_without_nothing(beside)}


def _wire(document: Mapping[str, Any]) -> Json:
    times = {
        name: _plain(value) for name, value in document.items() if name not in _BESIDE and value is not None
    }
    if "interval" in times:
        times.setdefault("anchor_date", datetime.now(timezone.utc).isoformat())
    rule = rules.parse(times)
    return {
        "schedule": rules.to_json(rule),
        **_without_nothing({name: document.get(name) for name in _BESIDE}),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, datetime) else value


def _without_nothing(values: Iterable[tuple[str, Any]] | Mapping[str, Any]) -> Json:
    return {name: value for name, value in dict(values).items() if value is not None and value != {}}
