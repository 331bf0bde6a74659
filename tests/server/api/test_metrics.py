"""What Prometheus and load balancers are told, on both databases; and that a server with a word asks for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from headrace.client.inprocess import InProcessTransport
from headrace.server.app import create_app
from headrace.server.store import schema
from headrace.server.store.database import Database
from headrace.settings import load
from headrace.testing.postgres import Cluster

from ..journals import JOURNAL, a_run, lines
from ..serving import Clock


def client(database: Database, clock: Clock | None = None, **settings: Any) -> httpx.Client:
    """Return a client of a whole server whose loops do not turn."""
    app = create_app(load().replace(**settings), database, now=clock or Clock())
    return httpx.Client(transport=InProcessTransport(app), base_url="http://headrace")


def series(answer: httpx.Response) -> dict[tuple[str, ...], float]:
    """Return ``{(name, value of a label, ...): value}``, labels in the order of their names."""
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_journals_that_are_taken_in_are_counted_once(database: Database) -> None:
    """Records, bytes and lag; what comes again counts as a request and nothing more."""
    clock = Clock()
    data = lines(a_run())
    with client(database, clock) as api:
        for _ in range(2):
            sent = api.put(f"/api/journals/{JOURNAL}?offset=0", content=data)
            assert sent.json() == {"offset": len(data)}
        told = series(api.get("/metrics"))

    assert told[("headrace_ingest_bytes_total",)] == len(data)
    assert told[("headrace_ingest_records_total",)] == data.count(b"\n")
    assert told[("headrace_ingest_lag_seconds_count",)] == 1
    requests = {key: value for key, value in told.items() if key[0] == "headrace_http_requests_total"}
    assert requests == {("headrace_http_requests_total", "PUT", "/journals/{id:uuid}", "200"): 2}


def test_runs_and_queues_are_told_as_they_are(database: Database) -> None:
    """Open runs by state, ended ones of the last hour, and what waits in each queue since when."""
    clock = Clock()
    with client(database, clock) as api:
        flow = api.post("/api/flows/", json={"name": "etl"}).json()["id"]
        api.post("/api/work_pools/", json={"name": "p", "type": "process"})
        body = {"flow_id": flow, "work_pool_name": "p", "state": {"type": "SCHEDULED"}}
        planned = [api.post("/api/flow_runs/", json=body).json()["id"] for _ in range(3)]
        own = {"state": {"type": "COMPLETED", "name": "Perfect"}, "force": True}
        assert api.post(f"/api/flow_runs/{planned[0]}/set_state", json=own).json()["status"] == "ACCEPT"
        clock.pass_s(60)
        told = series(api.get("/metrics"))

    runs = {key[1:]: value for key, value in told.items() if key[0].startswith("headrace_flow_runs")}
    assert runs == {("Scheduled", "SCHEDULED"): 2, ("Completed", "COMPLETED"): 1}
    assert told[("headrace_queue_due", "p", "default")] == 2
    assert 59 < told[("headrace_queue_oldest_due_seconds", "p", "default")] < 62


def test_what_is_claimed_is_counted(database: Database) -> None:
    """A run that was given to a worker is not due any more."""
    with client(database) as api:
        flow = api.post("/api/flows/", json={"name": "etl"}).json()["id"]
        api.post("/api/work_pools/", json={"name": "p", "type": "process"})
        api.post(
            "/api/flow_runs/", json={"flow_id": flow, "work_pool_name": "p", "state": {"type": "SCHEDULED"}}
        )
        asked = {"worker_id": JOURNAL, "worker_name": "w", "limit": 5, "wait": 0}
        assert len(api.post("/api/work_pools/p/claim", json=asked).json()["claims"]) == 1
        told = series(api.get("/metrics"))

    assert told[("headrace_claims_total",)] == 1
    assert told[("headrace_queue_due", "p", "default")] == 0
    assert told[("headrace_flow_runs", "Pending", "PENDING")] == 1


def test_what_leads_nowhere_makes_no_series_of_its_own(database: Database) -> None:
    """A scan of a thousand paths must not fill the watcher's disk."""
    with client(database) as api:
        for number in range(5):
            assert api.get(f"/wp-admin/{number}").status_code == 404
        told = series(api.get("/metrics"))

    assert told[("headrace_http_requests_total", "GET", "none", "404")] == 5
    assert sum(key[0] == "headrace_http_requests_total" for key in told) == 1


def test_faults_of_the_database_are_told(database: Database) -> None:
    """By the database's own code; deadlocks by themselves, to be alarmed by."""
    with client(database) as api:
        database.faults["40P01"] += 2
        database.faults["57P01"] += 1
        first = series(api.get("/metrics"))
        database.faults["40P01"] += 1
        told = series(api.get("/metrics"))

    assert first[("headrace_database_deadlocks_total",)] == 2
    assert told[("headrace_database_deadlocks_total",)] == 3
    assert told[("headrace_database_retries_total", "40P01")] == 3
    assert told[("headrace_database_retries_total", "57P01")] == 1
    assert told[("headrace_database_connections_used", "read")] == 0


def test_a_server_with_a_word_asks_watchers_for_it(database: Database) -> None:
    """Names of pools and queues are nobody else's business."""
    with client(database, server_auth_string="ada:secret") as api:
        assert api.get("/metrics").status_code == 401
        assert api.get("/metrics", auth=("ada", "secret")).status_code == 200
        assert api.get("/api/ready").status_code == 200


@pytest.mark.parametrize(
    ("revision", "serves_since", "said"),
    [
        ("0001", None, "headrace server database upgrade"),
        ("9999", "9998", "upgrade it"),
        ("9999", None, "upgrade it"),
        (schema.HEAD + "+copy", schema.SERVES_SINCE, "headrace server database copy"),
    ],
)
def test_a_database_that_this_code_cannot_work_on_is_not_ready(
    database: Database, revision: str, serves_since: str | None, said: str
) -> None:
    """It says what to do, until it is done."""
    with client(database) as api:
        assert api.get("/api/ready").json() == {"message": "OK"}
        with stamped(database, revision, serves_since):
            answer = api.get("/api/ready")
            assert answer.status_code == 503
            assert said in answer.json()["message"]
        assert api.get("/api/ready").status_code == 200


def test_a_database_that_newer_code_has_only_added_to_is_ready(database: Database) -> None:
    """Else a load balancer would send all servers away while they are replaced one by one."""
    with client(database) as api, stamped(database, "9999", schema.HEAD):
        assert api.get("/api/ready").json() == {"message": "OK"}


@contextlib.contextmanager
def stamped(database: Database, revision: str, serves_since: str | None) -> Iterator[None]:
    """Let a database say other things of itself for a while."""
    statement = text("UPDATE alembic_version SET version_num = :revision, serves_since = :since")

    def say(revision: str, since: str | None) -> None:
        database.write(lambda c: c.execute(statement, {"revision": revision, "since": since}))

    say(revision, serves_since)
    try:
        yield
    finally:
        say(schema.HEAD, schema.SERVES_SINCE)


def test_a_database_that_is_away_is_not_ready_and_health_does_not_mind(home: Path) -> None:
    """The reason goes to the log: it may name hosts and users, and anybody may ask."""
    with Cluster() as cluster:
        database = Database.open(cluster.create("ready"), home)
        try:
            with client(database) as api:
                assert api.get("/api/ready").status_code == 200
                cluster.stop()
                answer = api.get("/api/ready")
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert answer.json()["message"].startswith("The database cannot be read")
                assert str(cluster.folder) not in answer.text
                assert api.get("/api/health").json() is True
                cluster.start()
                assert api.get("/api/ready").json() == {"message": "OK"}
        finally:
            database.close()
