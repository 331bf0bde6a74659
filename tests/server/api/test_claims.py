"""What workers are given over HTTP, while they ask side by side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from headrace.server.api import claims as route
from headrace.server.api import looks as module
from headrace.server.store.database import Database
from tests.server.serving import Api
from tests.verdicts.house import until

from .test_scheduled_runs import deployed, planned

WORKERS = [f"01a20879-4912-75ac-8e3e-00000000000{number}" for number in range(1, 6)]


def claimed(api: Api, worker: str, limit: int = 1, wait: float = 0) -> list[str]:
    """Return the runs that a worker is given at once, or within so many seconds."""
    body = {"worker_id": worker, "worker_name": worker[-1], "limit": limit, "wait": wait}
    answer = api.post("/work_pools/alpha/claim", json=body)
    assert answer.status_code == 200, answer.text
    return [claim["run"]["id"] for claim in answer.json().get("claims", [])]


@pytest.fixture
def looks(database: Database) -> Iterator[list[str]]:
    """Which statements looked for due runs outside of any claim."""
    said: list[str] = []

    def execute(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "next_scheduled_us" in statement and statement.startswith("SELECT"):
            said.append(statement)

    engine = database._readers
    event.listen(engine, "before_cursor_execute", execute)
    yield said
    event.remove(engine, "before_cursor_execute", execute)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a moment ago was a moment ago."""
    monkeypatch.setattr(module, "READY_S", 60)
    monkeypatch.setattr(module, "NOTHING_S", 60)


@pytest.mark.usefixtures("slow")
def test_who_asks_for_the_same_at_the_same_time_looks_once(api: Api, looks: list[str]) -> None:
    """As long as those before left some; each run is given once, and in order."""
    deployment = deployed(api)
    runs = [planned(api, deployment, -60 + number) for number in range(4)]

    assert claimed(api, WORKERS[0]) == runs[:1]
    one_look = len(looks)
    assert one_look > 0
    assert claimed(api, WORKERS[1]) == runs[1:2]
    assert len(looks) == one_look
    assert claimed(api, WORKERS[2], limit=5) == runs[2:]
    assert claimed(api, WORKERS[3]) == []
    assert len(looks) > one_look, "the one before got less than it asked for"


@pytest.mark.usefixtures("slow")
def test_what_was_found_a_moment_ago_is_no_promise(api: Api) -> None:
    """A pool that was paused since gives nothing, and who takes nothing is given nothing."""
    deployment = deployed(api)
    runs = [planned(api, deployment, -60 + number) for number in range(3)]

    assert claimed(api, WORKERS[0]) == runs[:1]
    assert claimed(api, WORKERS[1], limit=0) == []
    api.patch("/work_pools/alpha", json={"is_paused": True})
    assert claimed(api, WORKERS[2]) == []
    api.patch("/work_pools/alpha", json={"is_paused": False})
    assert claimed(api, WORKERS[3], limit=9) == runs[1:]


@pytest.mark.usefixtures("slow")
def test_many_who_wait_for_nothing_look_as_often_as_one(
    api: Api, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would look every 0.1 s here; who does not stay to look again looks for himself."""
    monkeypatch.setattr(route, "LOOK_S", 0.1)
    deployed(api)
    with ThreadPoolExecutor(len(WORKERS)) as threads:
        assert list(threads.map(lambda worker: claimed(api, worker, wait=1.0), WORKERS)) == [[]] * len(
            WORKERS
        )
    first = len(looks)
    assert first <= 2 * len(WORKERS), "of those who came at the same time"
    assert claimed(api, WORKERS[0], wait=1.0) == []
    assert len(looks) == first
    assert claimed(api, WORKERS[0]) == []
    assert len(looks) > first


def test_who_relied_on_anothers_look_is_woken_all_the_same(api: Api) -> None:
    """Five wait for a queue with two slots, and nobody would look by himself; runs come one after the other."""
    deployment = deployed(api)
    (queue,) = api.post("/work_pools/alpha/queues/filter", json={}).json()
    api.patch(f"/work_queues/{queue['id']}", json={"concurrency_limit": 2})
    with ThreadPoolExecutor(len(WORKERS)) as threads:
        waiting = [threads.submit(claimed, api, worker, wait=20.0) for worker in WORKERS]
        until(lambda: len(api.app.state.context.openings._waiting.get(queue["id"], ())) == 5, "all wait")
        runs = [planned(api, deployment, -60 + number) for number in range(5)]
        for number, ended in enumerate(runs[:4]):
            wanted = min(2 + number, 5)
            until(
                lambda wanted=wanted: sum(one.done() for one in waiting) == wanted, "one is given", within=1.5
            )  # type: ignore[misc]
            api.propose("flow_runs", ended, "COMPLETED", force=True)
        given = [one.result(20) for one in waiting]

    assert sorted(given) == sorted([run] for run in runs)


def test_who_was_rung_for_asks_at_once(api: Api, looks: list[str]) -> None:
    """He was told that there is something: to look for it first would be a second question."""
    deployment = deployed(api)
    (queue,) = api.post("/work_pools/alpha/queues/filter", json={}).json()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(claimed, api, WORKERS[0], wait=20.0)
        until(lambda: bool(api.app.state.context.openings._waiting.get(queue["id"])), "it waits")
        before = len(looks)
        run = planned(api, deployment, -60)
        assert waiting.result(20) == [run]

    assert len(looks) == before


def test_who_was_rung_for_in_vain_waits_for_what_is_due_next(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is planned for a moment later is given then: the claim that found nothing said when that is."""
    monkeypatch.setattr(route, "LOOK_S", 60)
    deployment = deployed(api)
    (queue,) = api.post("/work_pools/alpha/queues/filter", json={}).json()
    context = api.app.state.context
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(claimed, api, WORKERS[0], wait=20.0)
        until(lambda: bool(context.openings._waiting.get(queue["id"])), "it waits")
        run = planned(api, deployment, 1)
        until(lambda: any(seen.look.next_us for seen in context.looks._kept.values()), "it asked in vain")
        api.clock.pass_s(2)
        assert waiting.result(20) == [run]
