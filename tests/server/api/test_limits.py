"""Limits of pools, queues and deployments hold for clients of the contract, which ask to begin a run."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.server.store import claims
from headrace.server.store.database import Database
from tests.server.serving import Api

from .test_scheduled_runs import deployed, planned


def limited(api: Api, of: str, limit: int, **options: Any) -> str:
    """Make a deployment under a limit of its own, of its queue or of its pool; return its id."""
    own = {"concurrency_limit": limit, "concurrency_options": options or None} if of == "deployment" else {}
    deployment = deployed(api, **own)
    if of == "pool":
        api.patch("/work_pools/alpha", json={"concurrency_limit": limit})
    if of == "queue":
        queue = api.get("/work_pools/alpha/queues/default").json()["id"]
        api.patch(f"/work_queues/{queue}", json={"concurrency_limit": limit})
    return deployment


def begin(api: Api, run: str) -> tuple[str, str]:
    """Ask to begin a run as a worker does; return the answer and the name of the state it is in."""
    answer = api.propose("flow_runs", run, "PENDING").json()
    return answer["status"], answer["state"]["name"]


@pytest.mark.parametrize("of", ["pool", "queue", "deployment"])
def test_a_run_that_finds_no_slot_waits_for_one(api: Api, of: str) -> None:
    """AwaitingConcurrencySlot, half a minute ahead; it begins once another has ended."""
    deployment = limited(api, of, 1)
    first, second = planned(api, deployment), planned(api, deployment)
    assert begin(api, first) == ("ACCEPT", "Pending")
    answer = api.propose("flow_runs", second, "PENDING")
    assert answer.status_code == 201
    told = answer.json()
    ahead = api.get(f"/flow_runs/{second}").json()["estimated_start_time_delta"]

    assert (told["status"], told["state"]["name"]) == ("REJECT", "AwaitingConcurrencySlot")
    assert of in told["details"]["reason"]
    assert told["state"]["state_details"]["scheduled_time"] > told["state"]["timestamp"]
    assert ahead < 30
    api.propose("flow_runs", first, "RUNNING")
    assert begin(api, second) == ("REJECT", "AwaitingConcurrencySlot")
    api.propose("flow_runs", first, "COMPLETED")
    assert begin(api, second) == ("ACCEPT", "Pending")


def test_a_deployment_may_cancel_what_is_too_much(api: Api) -> None:
    """``CANCEL_NEW``: the newer run ends Cancelled, and says why."""
    deployment = limited(api, "deployment", 1, collision_strategy="CANCEL_NEW")
    first, second = planned(api, deployment), planned(api, deployment)
    begin(api, first)

    assert begin(api, second) == ("REJECT", "Cancelled")
    assert "limit of its deployment" in api.get(f"/flow_runs/{second}").json()["state"]["message"]


def test_the_lease_on_a_slot_lasts_as_long_as_its_run(api: Api) -> None:
    """It is told in every state, can be renewed while the run lives, paused or not, and is gone with it."""
    run = planned(api, limited(api, "deployment", 1))
    leases = []
    for type, name in (("PENDING", "Pending"), ("PENDING", "Submitting"), ("RUNNING", "Running")):
        state = api.propose("flow_runs", run, type, name=name).json()["state"]
        leases.append(state["state_details"]["deployment_concurrency_lease_id"])
    renew = f"/v2/concurrency_limits/leases/{leases[0]}/renew"
    body = {"lease_duration": 300}

    assert leases[0] is not None
    assert leases == [leases[0]] * 3
    assert api.post(renew, json=body).status_code == 204
    api.propose("flow_runs", run, "PAUSED")
    assert api.post(renew, json=body).status_code == 204
    given = api.post("/v2/concurrency_limits/decrement-with-lease", json={"lease_id": leases[0]})
    assert given.status_code == 204
    api.propose("flow_runs", run, "RUNNING")
    api.propose("flow_runs", run, "COMPLETED")
    gone = api.post(renew, json=body)
    assert gone.status_code == 410
    assert "has ended" in gone.json()["detail"]


def test_a_run_without_a_limit_has_no_lease(api: Api) -> None:
    """Then its client renews nothing."""
    state = api.propose("flow_runs", planned(api, deployed(api)), "PENDING").json()["state"]

    assert state["state_details"]["deployment_concurrency_lease_id"] is None


def test_a_run_that_gave_up_its_slot_waits_for_another_before_it_goes_on(api: Api) -> None:
    """Between two tries it has none, and its process is told to wait."""
    deployment = limited(api, "deployment", 1)
    first, second = planned(api, deployment), planned(api, deployment)
    for run in (first, second):
        api.patch(f"/flow_runs/{run}", json={"empirical_policy": {"retries": 1}})
    begin(api, first)
    api.propose("flow_runs", first, "RUNNING")
    assert api.propose("flow_runs", first, "FAILED").json()["state"]["name"] == "AwaitingRetry"
    assert begin(api, second) == ("ACCEPT", "Pending")
    told = api.propose("flow_runs", first, "RUNNING").json()
    assert (told["status"], told["details"]["delay_seconds"]) == ("WAIT", 30)
    api.propose("flow_runs", second, "RUNNING")
    api.propose("flow_runs", second, "COMPLETED")

    assert api.propose("flow_runs", first, "RUNNING").json()["status"] == "ACCEPT"


def test_a_limit_does_not_hold_up_who_insists(api: Api) -> None:
    """``force`` is a person's word."""
    deployment = limited(api, "pool", 0)
    run = planned(api, deployment)

    assert begin(api, run) == ("REJECT", "AwaitingConcurrencySlot")
    assert api.propose("flow_runs", run, "PENDING", force=True).json()["status"] == "ACCEPT"


@pytest.mark.parametrize("of", ["pool", "queue", "deployment"])
def test_limits_are_exact_for_all_kinds_of_workers_at_once(api: Api, database: Database, of: str) -> None:
    """Workers of the contract ask for the same runs while our own claim: never more than three live."""
    deployment = limited(api, of, 3)
    runs = [planned(api, deployment, -9) for _ in range(12)]
    pool = api.get("/work_pools/alpha").json()["id"]
    asker = claims.Asker(runs[0][:-12] + "f" * 12, "w", pool, None, (), 2)
    start = threading.Barrier(6)

    def ask(number: int) -> int:
        start.wait(20)
        return sum(begin(api, run)[0] == "ACCEPT" for run in runs[number::2])

    def claim() -> int:
        start.wait(20)
        given, _ = database.write(
            lambda connection: claims.claim(
                connection, asker, api.clock(), new_id=api.app.state.context.new_id
            )
        )
        return len(given)

    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(ask, number) for number in (0, 1, 0, 1)]
        claimed = [threads.submit(claim) for _ in range(2)]
        begun = sum(future.result(30) for future in [*asked, *claimed])
    live = [run for run in runs if api.state_of(run)[0] == "PENDING"]

    assert begun == len(live) == 3
