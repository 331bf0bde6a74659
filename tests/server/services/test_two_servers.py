"""Two whole servers on one database: one plans, the other hears of changes, and takes over when the first goes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from headrace.client.inprocess import InProcessTransport
from headrace.server.app import create_app
from headrace.server.store.database import Database
from headrace.server.store.tables import flow_runs, leases
from headrace.settings import load

from ..databases import emptied


class Server:
    """An app whose lifespan is on, with a client of its API."""

    def __init__(self, database: Database) -> None:
        self.app = create_app(load(), database)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._life = self.app.router.lifespan_context(self.app)
        self._call(self._life.__aenter__())
        self._on = True
        self.api = httpx.Client(transport=InProcessTransport(self.app), base_url="http://headrace/api")

    def stop(self) -> None:
        """End it in good order; ending twice is fine."""
        if self._on:
            self._on = False
            self._call(self._life.__aexit__(None, None, None))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self.api.close()

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@pytest.fixture
def servers(database_url: str, home: Path) -> Iterator[tuple[Server, Server]]:
    """Two servers; the first has the lease."""
    with emptied(database_url, home) as one, contextlib.closing(Database.open(database_url, home)) as two:
        first, second = Server(one), Server(two)
        try:
            yield first, second
        finally:
            second.stop()
            first.stop()


def planned(server: Server) -> list[int]:
    """Return the times of the runs, in microseconds since 1970."""
    with server.app.state.context.database.read() as connection:
        found = connection.execute(select(flow_runs.c.expected_start_us)).scalars()
        return sorted(found)


def wait_until(condition: Callable[[], bool], within_s: float) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


def deploy(server: Server, seconds: int) -> tuple[str, str]:
    """Make a deployment with a schedule; return its id and the schedule's."""
    flow = server.api.post("/flows/", json={"name": "etl"}).json()["id"]
    rule = {"schedule": {"interval": seconds, "anchor_date": "2026-01-01T00:00:00Z"}, "slug": "s"}
    body = {"name": "d", "flow_id": flow, "schedules": [rule]}
    made = server.api.post("/deployments/", json=body).json()
    return made["id"], made["schedules"][0]["id"]


def test_one_plans_what_either_is_told(servers: tuple[Server, Server]) -> None:
    """At once where the lease is, within ten seconds from elsewhere; and each time once."""
    first, second = servers
    id, schedule = deploy(first, 86_400)
    wait_until(lambda: len(planned(first)) == 5, 5)
    path = f"/deployments/{id}/schedules/{schedule}"
    rule = {"interval": 43_200, "anchor_date": "2026-01-01T00:00:00Z"}
    assert second.api.patch(path, json={"schedule": rule}).status_code == 204
    wait_until(lambda: len(planned(second)) == 5, 12)
    times = planned(second)

    assert len(set(times)) == 5
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {43_200_000_000}


def test_the_second_takes_over_when_the_first_is_stopped(servers: tuple[Server, Server]) -> None:
    """Within the time between two of its looks; the fence grows."""
    first, second = servers
    first.stop()
    deploy(second, 86_400)
    wait_until(lambda: len(planned(second)) == 5, 15)
    with second.app.state.context.database.read() as connection:
        lease = connection.execute(select(leases)).mappings().one()

    assert lease["fence"] == 2


def test_an_embedded_app_turns_no_loop(database: Database) -> None:
    """It is gone before it could: neither a lease nor a run is there."""
    app = create_app(load(), database, services=False)
    with httpx.Client(transport=InProcessTransport(app), base_url="http://headrace/api") as api:
        flow = api.post("/flows/", json={"name": "etl"}).json()["id"]
        rule = {"schedule": {"cron": "* * * * *"}}
        made = api.post("/deployments/", json={"name": "d", "flow_id": flow, "schedules": [rule]})
        runs = api.post("/flow_runs/count").json()

    assert (made.status_code, runs) == (201, 0)
    with database.read() as connection:
        assert connection.execute(select(leases)).all() == []
