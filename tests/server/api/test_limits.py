"""Limits of pools, queues and deployments hold for clients of the contract, which ask to begin a run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.model.ids import IdFactory
from headrace.server.orchestration.proposals import propose_flow_run
from headrace.server.orchestration.rules import Proposal
from headrace.server.store import claims, serving
from headrace.server.store.database import Database
from tests.server.serving import NOON_US, Api

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


@pytest.fixture
def servers(database: Database, database_url: str, home: Path) -> Iterator[list[Database]]:
    """The same database as other servers have it open, each with a connection of its own."""
    assert database.is_current()
    with contextlib.ExitStack() as stack:
        opened = [Database.open(database_url, home, direct=True) for _ in range(8)]
        for each in opened:
            stack.callback(each.close)
        yield opened


@pytest.mark.parametrize("of", ["pool", "queue", "deployment"])
def test_limits_are_exact_for_all_kinds_of_workers_at_once(
    api: Api, servers: list[Database], of: str
) -> None:
    """Workers of the contract ask to begin runs at several servers while our own claim: never more than three live."""
    deployment = limited(api, of, 3)
    runs = [planned(api, deployment, -9) for _ in range(12)]
    pool = api.get("/work_pools/alpha").json()["id"]
    ids, start = IdFactory(), threading.Barrier(8)

    def new_id() -> str:
        return ids.new(NOON_US)

    def ask(number: int) -> int:
        start.wait(20)
        begun = 0
        for run in runs[number::6]:
            done = servers[number].write(
                lambda c, run=run: propose_flow_run(
                    c, run, Proposal("PENDING", "Pending"), now_us=NOON_US, new_id=new_id
                )
            )
            begun += done is not None and done.answer.status == "ACCEPT"
        return begun

    def claim(number: int) -> int:
        asker = serving.Asker(runs[number], "w", pool, None, (), 2)
        start.wait(20)
        return len(
            servers[6 + number].write(lambda c: claims.claim(c, [asker], NOON_US, new_id=new_id)).to[0]
        )

    with ThreadPoolExecutor(8) as threads:
        given = [*(threads.submit(ask, number) for number in range(6))]
        given += [threads.submit(claim, number) for number in range(2)]
        begun = sum(future.result(60) for future in given)
    live = [run for run in runs if api.state_of(run)[0] == "PENDING"]

    assert begun == len(live) == 3


def test_a_run_is_given_once_by_a_server_whose_clock_is_behind(api: Api, servers: list[Database]) -> None:
    """The ids that it makes are smaller than those of the server that planned the run: that decides nothing."""
    run = planned(api, deployed(api), -9)
    pool = api.get("/work_pools/alpha").json()["id"]
    asker = serving.Asker(run, "w", pool, None, (), 1)
    behind_us, ids = NOON_US - 3_000_000, IdFactory()

    def claim() -> list[str]:
        [given] = (
            servers[0]
            .write(lambda c: claims.claim(c, [asker], behind_us, new_id=lambda: ids.new(behind_us)))
            .to
        )
        return [each.run.id for each in given]

    assert claim() == [run]
    assert claim() == []
    assert api.state_of(run) == ("PENDING", "Pending")
    assert begin(api, run) == ("ABORT", "Pending")
