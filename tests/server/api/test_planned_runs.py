"""Planning runs by hand: what the contract's `schedule` of a deployment makes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ..serving import NOON_US, Api

NOON = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=NOON_US)
HOURLY = {"schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:10:00Z"}}


def deploy(api: Api, **fields: Any) -> str:
    """Make a deployment with an hourly schedule; return its id."""
    flow = api.post("/flows/", json={"name": "etl"}).json()["id"]
    body = {"name": "hourly", "flow_id": flow, "schedules": [HOURLY], **fields}
    answer = api.post("/deployments/", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def planned(api: Api) -> list[dict[str, Any]]:
    """Return the runs, by the time for which they are planned."""
    runs: list[dict[str, Any]] = api.post(
        "/flow_runs/filter", json={"sort": "EXPECTED_START_TIME_ASC"}
    ).json()
    return runs


def test_three_runs_are_planned_once(api: Api) -> None:
    """Each tells its schedule's time, and asking twice plans nothing twice."""
    id = deploy(api, tags=["a"], parameters={"x": 1})
    for _ in range(2):
        answer = api.post(f"/deployments/{id}/schedule")
        assert (answer.status_code, answer.json()) == (200, None)
    runs = planned(api)

    assert len(runs) == 3
    assert {run["state_name"] for run in runs} == {"Scheduled"}
    assert {(run["auto_scheduled"], run["deployment_id"], *run["tags"]) for run in runs} == {
        (True, id, "a", "auto-scheduled")
    }
    assert runs[0]["parameters"] == {"x": 1}
    assert runs[0]["expected_start_time"] == runs[0]["state"]["state_details"]["scheduled_time"]
    assert runs[0]["created_by"]["id"] == id


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ({"max_runs": 2}, 2),
        ({"min_runs": 0}, 1),
        ({"min_runs": 5}, 5),
        ({"min_time": 7200 * 3}, 6),
        ({"min_time": 7200 * 3, "max_runs": 4}, 4),
        ({"end_time": (NOON + timedelta(hours=2)).isoformat()}, 2),
        ({"start_time": (NOON + timedelta(days=90)).isoformat(), "min_runs": 4}, 4),
        ({"start_time": (NOON + timedelta(days=101)).isoformat()}, 0),
    ],
)
def test_how_many_may_be_asked_for(api: Api, asked: dict[str, Any], runs: int) -> None:
    """By a number, or by how far ahead."""
    id = deploy(api)
    assert api.post(f"/deployments/{id}/schedule", json=asked).status_code == 200

    assert len(planned(api)) == runs


def test_what_is_not_in_force_plans_nothing(api: Api) -> None:
    """A paused deployment, and a schedule that is not active; an unknown deployment is told."""
    paused, idle = deploy(api, paused=True), deploy(api, name="idle", schedules=[{**HOURLY, "active": False}])
    for id in (paused, idle):
        assert api.post(f"/deployments/{id}/schedule", json={}).status_code == 200

    assert planned(api) == []
    assert api.post("/deployments/00000000-0000-0000-0000-000000000000/schedule").status_code == 404
    assert api.post(f"/deployments/{idle}/schedule", json={"max_runs": -1}).status_code == 422
