"""What workers are given over HTTP, while they ask side by side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import event

from headrace.server.store.database import Database
from tests.server.serving import Api

from .test_scheduled_runs import deployed, planned

WORKERS = [f"01a20879-4912-75ac-8e3e-00000000000{number}" for number in range(1, 6)]


def claimed(api: Api, worker: str, limit: int = 1) -> list[str]:
    """Return the runs that a worker is given at once."""
    body = {"worker_id": worker, "worker_name": worker[-1], "limit": limit, "wait": 0}
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


def test_who_asks_for_the_same_at_the_same_time_looks_once(api: Api, looks: list[str]) -> None:
    """As long as those before got all that they asked for; each run is given once, and in order."""
    api.app.state.context.looks._seconds = 60  # however slow the machine is
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


def test_what_was_found_a_moment_ago_is_no_promise(api: Api) -> None:
    """A pool that was paused since gives nothing, and who takes nothing is given nothing."""
    api.app.state.context.looks._seconds = 60
    deployment = deployed(api)
    runs = [planned(api, deployment, -60 + number) for number in range(3)]

    assert claimed(api, WORKERS[0]) == runs[:1]
    assert claimed(api, WORKERS[1], limit=0) == []
    api.patch("/work_pools/alpha", json={"is_paused": True})
    assert claimed(api, WORKERS[2]) == []
    api.patch("/work_pools/alpha", json={"is_paused": False})
    assert claimed(api, WORKERS[3], limit=9) == runs[1:]
