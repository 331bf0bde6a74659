"""Who holds the slots of pools and queues."""

from __future__ import annotations

from typing import Any

from tests.server.serving import Api

MISSING = "01a20879-4912-75ac-8e3e-000000000000"


def made(api: Api) -> str:
    """Make a pool with a limited queue and a deployment in it; return the deployment's id."""
    api.post("/work_pools/", json={"name": "alpha", "type": "process", "concurrency_limit": 9})
    api.post("/work_pools/alpha/queues", json={"name": "fast", "concurrency_limit": 8})
    flow = api.post("/flows/", json={"name": "etl"}).json()["id"]
    body = {"name": "nightly", "flow_id": flow, "work_pool_name": "alpha", "work_queue_name": "fast"}
    return str(api.post("/deployments/", json=body).json()["id"])


def runs(api: Api, deployment: str, *states: str) -> list[str]:
    """Make a run for each last state; return their ids."""
    ids = []
    for state in states:
        run = api.post(f"/deployments/{deployment}/create_flow_run", json={}).json()["id"]
        for type in ("PENDING", "RUNNING")[: 1 if state == "PENDING" else 2] if state != "SCHEDULED" else ():
            api.propose("flow_runs", run, type)
        if state not in ("SCHEDULED", "PENDING", "RUNNING"):
            api.propose("flow_runs", run, state)
        ids.append(run)
    return ids


def status(api: Api, **body: Any) -> dict[str, Any]:
    """Ask for the pool's slots."""
    return dict(api.post("/work_pools/alpha/concurrency_status", json=body).json())


def test_the_runs_that_hold_slots_are_told(api: Api) -> None:
    """Of a pool by queue, of a queue by run; the longest in its state first."""
    deployment = made(api)
    ids = runs(api, deployment, "RUNNING", "SCHEDULED", "COMPLETED", "PENDING", "CANCELLING", "PAUSED")
    pool = status(api)
    queue_id = api.get("/work_pools/alpha/queues/fast").json()["id"]
    api.clock.pass_s(5)
    queue = api.post(f"/work_queues/{queue_id}/concurrency_status", json={}).json()

    assert (pool["active_slots"], pool["concurrency_limit"], pool["count"]) == (3, 9, 2)
    details = {each["queue_name"]: each for each in pool["queues"]}
    assert (details["fast"]["active_slots"], details["fast"]["concurrency_limit"]) == (3, 8)
    assert [run["id"] for run in details["fast"]["flow_runs"]] == [ids[0], ids[3], ids[4]]
    assert details["default"]["flow_runs"] == []
    assert [run["id"] for run in queue["flow_runs"]] == [ids[0], ids[3], ids[4]]
    assert queue["flow_runs"][0]["state_type"] == "RUNNING"
    assert queue["flow_runs"][0]["time_in_current_state"] >= 5


def test_slots_are_told_in_pages(api: Api) -> None:
    """Queues of a pool, runs of a queue; and as many runs of each queue as are asked for."""
    ids = runs(api, made(api), *["RUNNING"] * 5)
    queue_id = api.get("/work_pools/alpha/queues/fast").json()["id"]
    path = f"/work_queues/{queue_id}/concurrency_status"
    pages = [api.post(path, json={"page": page, "limit": 2}).json() for page in (1, 2, 3, 4)]

    assert [[run["id"] for run in page["flow_runs"]] for page in pages] == [ids[:2], ids[2:4], ids[4:], []]
    assert {(page["count"], page["pages"], page["active_slots"]) for page in pages} == {(5, 3, 5)}
    assert [each["queue_name"] for each in status(api, limit=1, page=2)["queues"]] == ["fast"]
    few = status(api, flow_run_limit=3)["queues"][1]
    assert (few["flow_run_count"], [run["id"] for run in few["flow_runs"]]) == (5, ids[:3])
    assert status(api, flow_run_limit=0)["queues"][1]["flow_runs"] == []


def test_what_is_not_there_is_told(api: Api) -> None:
    """404 for a pool, 404 for a queue, 422 for a page that is none."""
    made(api)

    assert api.post("/work_pools/beta/concurrency_status", json={}).status_code == 404
    assert api.post(f"/work_queues/{MISSING}/concurrency_status", json={}).status_code == 404
    assert api.post("/work_pools/alpha/concurrency_status", json={"page": 0}).status_code == 422
    assert api.post("/work_pools/alpha/concurrency_status", json={"limit": 201}).status_code == 422
