"""What workers of the contract are offered, and that offering it changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headrace.model.clock import to_datetime
from tests.server.serving import NOON_US, Api

MISSING = "01a20879-4912-75ac-8e3e-000000000000"


def deployed(api: Api, name: str = "nightly", queue: str = "default", **fields: Any) -> str:
    """Make a deployment in the pool ``alpha``, and the pool; return its id."""
    api.post("/work_pools/", json={"name": "alpha", "type": "process"})
    flow = api.post("/flows/", json={"name": "etl"}).json()["id"]
    place = {"work_pool_name": "alpha", "work_queue_name": queue}
    made = api.post("/deployments/", json={"name": name, "flow_id": flow, **place, **fields})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def planned(api: Api, deployment: str, after_s: float = 0) -> str:
    """Plan a run some seconds after noon; return its id."""
    when = text(after_s)
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": when}}
    return str(api.post(f"/deployments/{deployment}/create_flow_run", json={"state": state}).json()["id"])


def text(after_s: float) -> str:
    """Return a time after noon as clients of the contract write it: with a space."""
    return str(to_datetime(NOON_US) + timedelta(seconds=after_s))


def offered(api: Api, **body: Any) -> list[str]:
    """Return the ids of what a worker of the pool is offered, up to ten seconds ahead."""
    answer = api.post(
        "/work_pools/alpha/get_scheduled_flow_runs", json={"scheduled_before": text(10), **body}
    )
    assert answer.status_code == 200, answer.text
    return [each["flow_run"]["id"] for each in answer.json()]


def test_a_pool_offers_the_runs_of_a_window(api: Api) -> None:
    """Those that are due, and those ahead if they are asked for, by time; with their places."""
    deployment = deployed(api)
    late, soon, far = (planned(api, deployment, after_s) for after_s in (-60, 8, 3600))
    [first, *_] = api.post("/work_pools/alpha/get_scheduled_flow_runs").json()
    run = api.get(f"/flow_runs/{late}").json()

    assert offered(api) == [late, soon]
    assert offered(api, scheduled_before=text(5)) == [late]
    assert offered(api, scheduled_after=text(0)) == [soon]
    assert offered(api, limit=1) == [late]
    assert offered(api, limit=0) == []
    assert offered(api, scheduled_before=None) == [late, soon, far]
    assert {first["work_pool_id"], first["work_queue_id"]} == {run["work_pool_id"], run["work_queue_id"]}
    assert first["flow_run"]["state"] == run["state"]


def test_queues_are_offered_by_priority_and_by_name(api: Api) -> None:
    """The first queue's runs come first, whenever they are planned for."""
    deployed(api)
    api.post("/work_pools/alpha/queues", json={"name": "fast", "priority": 1})
    slow, fast = planned(api, deployed(api, "slow"), -9), planned(api, deployed(api, "fast", "fast"), -1)
    queue = api.get("/work_pools/alpha/queues/fast").json()["id"]

    assert offered(api) == offered(api, work_queue_names=[]) == [fast, slow]
    assert offered(api, work_queue_names=["default"]) == [slow]
    assert offered(api, work_queue_names=["fast", "unknown"]) == [fast]
    assert [run["id"] for run in api.post(f"/work_queues/{queue}/get_runs", json={}).json()] == [fast]


def test_a_paused_pool_or_queue_offers_nothing(api: Api) -> None:
    """Until it is resumed; what was taken is offered no more."""
    run = planned(api, deployed(api))
    queue = api.get("/work_pools/alpha/queues/default").json()["id"]
    for path in (f"/work_queues/{queue}", "/work_pools/alpha"):
        api.patch(path, json={"is_paused": True})
        assert offered(api) == []
        assert api.post(f"/work_queues/{queue}/get_runs", json={}).json() == []
        api.patch(path, json={"is_paused": False})
    assert offered(api) == [run]
    api.propose("flow_runs", run, "PENDING")

    assert offered(api) == []


@pytest.mark.parametrize("of", ["pool", "queue", "deployment"])
def test_what_would_wait_for_a_limit_is_not_offered(api: Api, of: str) -> None:
    """And hides nothing: the run of another deployment is."""
    limit: dict[str, Any] = {"concurrency_limit": 2}
    deployment = deployed(api, **(limit if of == "deployment" else {}))
    if of == "pool":
        api.patch("/work_pools/alpha", json=limit)
    if of == "queue":
        queue = api.get("/work_pools/alpha/queues/default").json()["id"]
        api.patch(f"/work_queues/{queue}", json=limit)
    runs = [planned(api, deployment, -9 + number) for number in range(4)]
    assert offered(api) == runs[:2]
    api.propose("flow_runs", runs[3], "PENDING")
    assert offered(api) == runs[:1]
    api.propose("flow_runs", runs[0], "PENDING")
    assert offered(api) == []
    other = planned(api, deployed(api, "other"), -1)

    assert offered(api) == ([other] if of == "deployment" else [])
    assert served(api, deployment) == ([] if of == "deployment" else runs[1:3])


def test_what_a_limit_cancels_is_offered_once_it_is_due(api: Api) -> None:
    """So that somebody asks to begin it: that is when it is cancelled. Ahead of its time a slot may still come free."""
    options = {"collision_strategy": "CANCEL_NEW"}
    deployment = deployed(api, concurrency_limit=1, concurrency_options=options)
    running, due, soon = (planned(api, deployment, after_s) for after_s in (-9, -5, 5))
    api.propose("flow_runs", running, "PENDING")

    assert offered(api) == [due]
    assert api.propose("flow_runs", due, "PENDING").json()["state"]["type"] == "CANCELLED"
    assert offered(api) == []
    api.propose("flow_runs", running, "RUNNING")
    api.propose("flow_runs", running, "COMPLETED")
    assert offered(api) == [soon]


def served(api: Api, *deployments: str, **body: Any) -> list[str]:
    """Return the ids of what a process is offered that serves deployments."""
    body = {"scheduled_before": text(10), **body, "deployment_ids": deployments}
    answer = api.post("/deployments/get_scheduled_flow_runs", json=body)
    assert answer.status_code == 200, answer.text
    return [run["id"] for run in answer.json()]


def test_a_process_that_serves_deployments_is_offered_theirs(api: Api) -> None:
    """By time, over all of them; and nothing of others."""
    one, two, other = (deployed(api, name) for name in ("one", "two", "other"))
    runs = [planned(api, one, -9), planned(api, two, -5), planned(api, one, -1)]
    planned(api, other)

    assert served(api, one, two) == runs
    assert served(api, one, two, limit=2) == runs[:2]
    assert served(api, one, scheduled_before=text(-8)) == runs[:1]
    assert served(api) == []
    assert served(api, MISSING) == []


def test_who_asks_is_noted_and_nothing_else_is_written(api: Api) -> None:
    """A queue that is asked for is ready; runs stay as they are; a page that only shows them does not count."""
    deployment = deployed(api)
    run = planned(api, deployment)
    before = api.get(f"/flow_runs/{run}").json()
    queue = f"/work_queues/{before['work_queue_id']}"
    api.post(f"{queue}/get_runs", json={}, headers={"x-prefect-ui": "true"})
    assert api.get(queue).json()["last_polled"] is None
    api.post(f"{queue}/get_runs", json={})
    told = api.get(queue).json()

    assert told["last_polled"] is not None
    assert told["status"] == "READY"
    assert api.get(f"/deployments/{deployment}").json()["status"] == "READY"
    after = api.get(f"/flow_runs/{run}").json()
    assert {**before, "estimated_start_time_delta": 0} == {**after, "estimated_start_time_delta": 0}


def test_the_queue_that_serves_a_deployment_is_told(api: Api) -> None:
    """One, or none for a deployment without a place."""
    deployment = deployed(api)
    flow = api.post("/flows/", json={"name": "etl"}).json()["id"]
    alone = api.post("/deployments/", json={"name": "served", "flow_id": flow}).json()["id"]

    assert [each["name"] for each in api.get(f"/deployments/{deployment}/work_queue_check").json()] == [
        "default"
    ]
    assert api.get(f"/deployments/{alone}/work_queue_check").json() == []


def test_what_is_not_there_is_told(api: Api) -> None:
    """404 for a pool, a queue, a deployment; 422 for what cannot be understood."""
    deployed(api)

    assert api.post("/work_pools/beta/get_scheduled_flow_runs", json={}).status_code == 404
    assert api.post(f"/work_queues/{MISSING}/get_runs", json={}).status_code == 404
    assert api.get(f"/deployments/{MISSING}/work_queue_check").status_code == 404
    assert api.post("/deployments/get_scheduled_flow_runs", json={}).status_code == 422
    for wrong in ({"limit": 201}, {"limit": -1}, {"scheduled_before": "soon"}, {"work_queue_names": "x"}):
        assert api.post("/work_pools/alpha/get_scheduled_flow_runs", json=wrong).status_code == 422
