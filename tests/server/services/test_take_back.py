"""What was given to a worker that does not confirm it is taken back: nothing is lost, and nothing begun twice."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from headrace.model import entries
from headrace.model.ownership import UNCONFIRMED_S
from headrace.server.services.lease_watch import LeaseWatch
from headrace.server.services.loop_lease import Alone
from headrace.server.store.database import Database
from tests.server.journals import lines, opened
from tests.server.serving import Api, serving

Json = dict[str, Any]


@pytest.fixture
def api(database: Database) -> Any:
    """The API, with one deployment in a pool and one run of it that is due."""
    with serving(database) as made:
        made.post("/work_pools/", json={"name": "pool", "type": "process"})
        flow = made.post("/flows/", json={"name": "etl"}).json()
        fields = {"name": "d", "flow_id": flow["id"], "work_pool_name": "pool", "entrypoint": "f.py:etl"}
        deployment = made.post("/deployments/", json=fields).json()
        made.post(f"/deployments/{deployment['id']}/create_flow_run", json={})
        yield made


def claim(api: Api, worker: str) -> list[Json]:
    body = {"worker_id": worker, "worker_name": "w", "limit": 5}
    answer = api.post("/work_pools/pool/claim", json=body)
    assert answer.status_code == 200, answer.text
    return list(answer.json().get("claims", []))


def confirm(api: Api, worker: str, claims: list[Json]) -> list[str]:
    body = {"worker_id": worker, "journals": [one["journal"] for one in claims]}
    return list(api.post("/claims/confirm", json=body).json()["journals"])


def watch(api: Api, database: Database) -> LeaseWatch:
    return LeaseWatch(database, Alone(database), lease_s=30, now_us=api.clock, steady_us=api.clock)


def test_an_unconfirmed_claim_is_given_to_another_worker(api: Api, database: Database) -> None:
    """As a new attempt; the first worker's word comes too late then."""
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    watching = watch(api, database)
    given = claim(api, first)
    api.clock.pass_s(UNCONFIRMED_S / 2)
    watching.tick()
    assert claim(api, second) == []  # it may still be on its way
    api.clock.pass_s(UNCONFIRMED_S)
    watching.tick()
    again = claim(api, second)

    assert [one["run"]["id"] for one in again] == [one["run"]["id"] for one in given]
    assert again[0]["attempt"] == given[0]["attempt"] + 1
    assert confirm(api, first, given) == []
    assert confirm(api, second, again) == [again[0]["journal"]]
    run = api.get(f"/flow_runs/{given[0]['run']['id']}").json()
    assert [state["name"] for state in run["state_history"]] == [
        "Scheduled",
        "Pending",
        "Scheduled",
        "Pending",
    ]


def test_who_is_given_it_again_has_longer(api: Api, database: Database) -> None:
    """Or a run could be given and taken back for ever, where the way to its worker is slow."""
    watching, worker = watch(api, database), str(uuid.uuid4())
    for attempt in range(1, 10):
        [given] = claim(api, worker)
        assert given["attempt"] == attempt
        patience_s = UNCONFIRMED_S * 2 ** min(attempt - 1, 5)
        api.clock.pass_s(patience_s - 0.1)
        watching.tick()
        assert api.state_of(given["run"]["id"]) == ("PENDING", "Pending")
        api.clock.pass_s(0.2)
        watching.tick()
        assert api.state_of(given["run"]["id"])[0] == "SCHEDULED"


def test_a_confirmed_claim_is_its_workers(api: Api, database: Database) -> None:
    """It has a lease of its own from then on; confirming twice does no harm."""
    worker = str(uuid.uuid4())
    watching = watch(api, database)
    given = claim(api, worker)
    assert confirm(api, worker, given) == confirm(api, worker, given) == [given[0]["journal"]]
    api.clock.pass_s(2 * UNCONFIRMED_S)
    watching.tick()

    assert api.state_of(given[0]["run"]["id"]) == ("PENDING", "Pending")
    assert claim(api, str(uuid.uuid4())) == []


def test_only_the_worker_that_was_given_it_confirms(api: Api) -> None:
    """Somebody else's word is none."""
    given = claim(api, str(uuid.uuid4()))

    assert confirm(api, str(uuid.uuid4()), given) == []


def test_what_was_cancelled_meanwhile_stays_so(api: Api, database: Database) -> None:
    """It is not planned again."""
    watching = watch(api, database)
    given = claim(api, str(uuid.uuid4()))
    api.propose("flow_runs", given[0]["run"]["id"], "CANCELLING")
    api.clock.pass_s(2 * UNCONFIRMED_S)
    watching.tick()

    assert api.state_of(given[0]["run"]["id"]) == ("CANCELLED", "Cancelled")
    assert claim(api, str(uuid.uuid4())) == []


def test_a_confirmed_run_whose_first_bytes_are_its_last_is_presumed_lost(
    api: Api, database: Database
) -> None:
    """Its host may die before the supervisor's first poll: the worker's word began the lease."""
    worker = str(uuid.uuid4())
    [given] = claim(api, worker)
    confirm(api, worker, [given])
    journal, run = given["journal"], given["run"]["id"]
    records = [
        opened(journal),
        entries.FlowRun(run, api.clock(), "etl", "r", planned=True),
        entries.State(run, api.clock(), "RUNNING"),
    ]
    answer = api.put(f"/journals/{journal}", params={"offset": 0}, content=lines(records))
    assert answer.status_code == 200, answer.text
    watching = watch(api, database)
    api.clock.pass_s(61)
    watching.tick()

    assert api.state_of(run) == ("CRASHED", "Lost")
