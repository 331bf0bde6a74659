"""A server whose PostgreSQL has no free connection for a while: it says so, loses nothing, and goes on afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.testing.postgres import Cluster
from tests import clusters

from ..verdicts.house import House, state_of, until
from ..verdicts.server import Server
from ..verdicts.test_outages import STEADY, assert_all_there_once, enough

pytestmark = pytest.mark.timeout(180)

_OURS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'headrace'"


@pytest.fixture
def small() -> Iterator[Cluster]:
    """A PostgreSQL that takes thirty connections: a server alone may use as many."""
    with clusters.started(lambda: Cluster(options={"max_connections": "30"})) as cluster:
        yield cluster


@contextlib.contextmanager
def crowded_out(cluster: Cluster) -> Iterator[None]:
    """Take every connection, those that the servers had as well; they get none until the end of the block."""
    with contextlib.ExitStack() as held:
        first = held.enter_context(psycopg.connect(cluster.url(), autocommit=True))

        def none_is_left() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    held.enter_context(psycopg.connect(cluster.url()))
            ours = first.execute(_OURS).fetchall()
            for (pid,) in ours:
                first.execute("SELECT pg_terminate_backend(%s, 1000)", [pid])
            return not ours

        until(none_is_left, "every connection to be taken")
        yield


def retries(url: str) -> float:
    """Return how many writes met a passing fault, by the server's own count."""
    text = httpx.get(url.removesuffix("/api") + "/metrics", trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "headrace_database_retries_total"
    )


def test_a_server_without_a_free_connection(small: Cluster, tmp_path: Path) -> None:
    """It answers 503 for what needs the database, its loops outlive it, and a run meanwhile is there whole afterwards."""
    with small.database() as url, contextlib.ExitStack() as closing:
        server = Server(tmp_path / "server", database_url=url).start()
        closing.callback(server.stop)
        house = House(tmp_path, server.url)
        closing.callback(house.close)
        client = closing.enter_context(httpx.Client(base_url=server.url, timeout=30.0, trust_env=False))
        script = house.start(STEADY, str(enough(house)))
        until(lambda: house.flow_run(script.root()), "the run on record", told=script.told)
        flow = client.post("/flows/", json={"name": "planned"}).json()["id"]

        with crowded_out(small):
            asked = {
                "/flows/": client.post("/flows/", json={"name": "refused"}),
                "/flow_runs": client.get(f"/flow_runs/{script.root()}"),
                "/ready": client.get("/ready"),
            }
            assert {path: answer.status_code for path, answer in asked.items()} == dict.fromkeys(asked, 503)
            assert [answer.headers["Retry-After"] for answer in asked.values()] == ["1"] * 3
            assert client.get("/health").status_code == 200
            until(lambda: "LoopLease will try again" in log(server), "a loop to meet it", told=server.told)
            seen = len(script.lines())
            until(lambda: len(script.lines()) > seen + 100, "the run to go on", told=script.told)

        until(
            lambda: client.get("/ready").status_code == 200, "the server to be ready again", told=server.told
        )
        enough(house).touch()
        run = house.end_of(script, within=5.0)
        assert state_of(run) == ("COMPLETED", "Completed")
        assert_all_there_once(house, script)
        assert client.post("/flows/count", json={"flows": {"name": {"any_": ["refused"]}}}).json() == 0
        assert_loops_turn(client, flow)
        assert retries(server.url) >= 2, "a request's write and a loop's"
        assert "Traceback" not in log(server)
        assert "answered with 500" not in log(server)


def log(server: Server) -> str:
    """Return all that a server wrote."""
    return (server.home / "server.log").read_text(errors="replace")


def assert_loops_turn(client: httpx.Client, flow: str) -> None:
    """Check that a schedule is planned, and that what nobody takes is marked late."""
    schedule = {"schedule": {"interval": 3600}, "active": True}
    body = {"name": "hourly", "flow_id": flow, "schedules": [schedule]}
    assert client.post("/deployments/", json=body).status_code == 201
    due = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2026-01-01T00:00:00Z"}}
    waits = client.post("/flow_runs/", json={"flow_id": flow, "state": due}).json()["id"]
    planned = {"flow_runs": {"state": {"name": {"any_": ["Scheduled"]}}}}

    def turn() -> bool:
        late = client.get(f"/flow_runs/{waits}").json()["state_name"] == "Late"
        return late and client.post("/flow_runs/count", json=planned).json() > 0

    until(turn, "runs to be planned and to be late")
