"""Schedules in every form that people give them arrive as the one form that the server takes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from headrace.deployments.timing import schedules_of
from headrace.errors import DeploymentError, ScheduleError
from headrace.schedules import Cron, Interval, RRule
from headrace.wire.shapes.schedules import DeploymentScheduleCreate

ANCHOR = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("given", "times"),
    [
        ({"cron": "0 6 * * *"}, [{"cron": "0 6 * * *", "timezone": None, "day_or": True}]),
        ({"cron": ["0 6 * * *", "0 7 * * *"]}, ["cron", "cron"]),
        ({"interval": 60}, ["interval"]),
        ({"interval": timedelta(minutes=5)}, ["interval"]),
        ({"interval": [60, timedelta(hours=1)]}, ["interval", "interval"]),
        ({"rrule": "FREQ=DAILY"}, ["rrule"]),
        ({"schedule": Cron("0 6 * * *", timezone="Europe/Berlin")}, ["cron"]),
        ({"schedules": [Interval(60, anchor_date=ANCHOR), RRule("FREQ=DAILY")]}, ["interval", "rrule"]),
        ({"schedule": {"interval": "PT15M", "timezone": "Europe/Berlin"}}, ["interval"]),
        ({"schedules": [{"cron": "0 6 * * *", "day_or": False}, {"interval": 60, "anchor_date": ANCHOR}]}, ["cron", "interval"]),
        ({"schedules": []}, []),
    ],
)  # fmt: skip
def test_each_form_is_one_that_the_server_takes(given: dict[str, Any], times: list[Any]) -> None:
    found = schedules_of(**given)

    assert found is not None and len(found) == len(times)
    for made, expected in zip(found, times, strict=True):
        DeploymentScheduleCreate.model_validate(made)
        assert made["schedule"] == expected if isinstance(expected, dict) else expected in made["schedule"]


def test_nothing_said_is_not_no_schedules() -> None:
    """What the server has stays."""
    assert schedules_of() is None
    assert schedules_of(cron=None, schedules=None) is None


def test_what_belongs_to_a_schedule_goes_with_it() -> None:
    beside = {"active": False, "parameters": {"day": 1}, "slug": "s"}
    as_object = schedules_of(schedule=Cron("0 6 * * *", **beside))  # type: ignore[arg-type]  # a dict of keywords
    as_mapping = schedules_of(schedules=[{"cron": "0 6 * * *", **beside, "max_scheduled_runs": 5}])

    assert as_object is not None and as_mapping is not None
    assert {name: as_object[0][name] for name in beside} == beside
    assert as_mapping[0] == {**as_object[0], "max_scheduled_runs": 5}


def test_an_anchor_is_kept() -> None:
    found = schedules_of(schedule=Interval(3600, anchor_date=ANCHOR))

    assert found is not None
    assert found[0]["schedule"]["anchor_date"] == "2026-01-01T00:00:00.000000Z"


def test_two_ways_of_saying_when_are_refused() -> None:
    with pytest.raises(DeploymentError, match="cron and schedules"):
        schedules_of(cron="* * * * *", schedules=[])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"cron": "nonsense"}, "not a cron expression"),
        ({"interval": 0}, "more than 0"),
        ({"rrule": "FREQ=NEVER"}, "FREQ"),
        ({"schedule": 5}, "Cron"),
        ({"schedules": [{"cron": "0 6 * * *", "interval": 5}]}, "one of"),
        ({"schedules": [{"cron": "0 6 * * *", "timezone": "Mars/Base"}]}, "Mars/Base"),
    ],
)
def test_what_is_no_schedule_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ScheduleError, match=told):
        schedules_of(**given)
