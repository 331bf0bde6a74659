"""Row 40: the same runs claimed by many workers at once, over real HTTP, by one server and by two on one database."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.journal.spool import boot_id
from headrace.model import entries
from headrace.testing.postgres import Cluster

from .house import until
from .server import Server

Json = dict[str, Any]

TRIES = 1000
WORKERS = 8
LEASE_S = 600.0
"""Nobody carries these attempts out, and none of them is to be presumed lost meanwhile."""


class Office:
    """One database with servers before it, and a deployment whose runs nobody needs to carry out."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.client = httpx.Client(base_url=servers[0].url, timeout=30.0, trust_env=False)
        self.pool = self._post("/work_pools/", {"name": "many", "type": "process"})
        flow = self._post("/flows/", {"name": "claimed"})
        body = {"name": "d", "flow_id": flow["id"], "work_pool_name": "many", "entrypoint": "f.py:claimed"}
        self.deployment = self._post("/deployments/", body)["id"]

    def _post(self, path: str, body: Json) -> Json:
        answer = self.client.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def plan(self) -> str:
        """Make a run that is due now; return its id."""
        return self._post(f"/deployments/{self.deployment}/create_flow_run", {})["id"]

    def limit_queue(self, limit: int) -> None:
        """Let at most so many runs of the pool's queue live."""
        id = self.pool["default_queue_id"]
        answer = self.client.patch(f"/work_queues/{id}", json={"concurrency_limit": limit})
        assert answer.status_code == 204, answer.text

    def state_of(self, run: str) -> str:
        """Return a run's type of state."""
        return self.client.get(f"/flow_runs/{run}").json()["state_type"]


class Asker(threading.Thread):
    """A worker as the server sees it: it asks, and keeps what it was given. Some of its answers get lost."""

    def __init__(self, number: int, office: Office, enough: threading.Event) -> None:
        super().__init__(name=f"asker-{number}", daemon=True)
        self.office = office
        self.given: list[Json] = []
        """Every claim that arrived, in order."""
        self.lost = 0
        """How many answers were not waited for."""
        self.failure: BaseException | None = None
        self._number = number
        self._id = str(uuid.uuid4())
        self._rng = random.Random(number)
        self._enough = enough

    def run(self) -> None:
        """Ask until there is enough."""
        try:
            with httpx.Client(trust_env=False) as client:
                while not self._enough.is_set():
                    self._ask(client, limit=1, wait=5.0)
                self._ask(client, limit=0, wait=0.0)  # what was given in an answer that got lost
        except BaseException as error:  # the test shows it, whatever it was
            self.failure = error

    def _ask(self, client: httpx.Client, *, limit: int, wait: float) -> None:
        server = self._rng.choice(self.office.servers)
        impatient = limit > 0 and self._rng.random() < 0.1
        body = {
            "worker_id": self._id,
            "worker_name": self.name,
            "limit": limit,
            "wait": wait,
            "have": [claim["journal"] for claim in self.given],
        }
        timeout = self._rng.uniform(0.001, 0.05) if impatient else 60.0
        try:
            answer = client.post(f"{server.url}/work_pools/many/claim", json=body, timeout=timeout)
        except httpx.TimeoutException:
            assert impatient, "a patient question was not answered"
            self.lost += 1
            return
        assert answer.status_code == 200, answer.text
        for claim in answer.json().get("claims", []):
            self.given.append(claim)
            self.took(client, claim)

    def took(self, client: httpx.Client, claim: Json) -> None:
        """Do with an attempt what a worker does; here: nothing."""


class Finisher(Asker):
    """An asker whose attempts begin, take a moment, and complete; it writes down when they lived."""

    lives: list[tuple[float, float]]

    def took(self, client: httpx.Client, claim: Json) -> None:
        """Ship the journal of an attempt that lives for some milliseconds."""
        began = time.monotonic()
        time.sleep(self._rng.uniform(0.0, 0.01))  # the work itself
        ended = time.monotonic()
        self.lives.append((began, ended))
        answer = client.put(
            f"{self.office.servers[0].url}/journals/{claim['journal']}",
            params={"offset": 0},
            content=journal_of(claim),
            timeout=60.0,
        )
        assert answer.status_code == 200, answer.text


def journal_of(claim: Json) -> bytes:
    """Return a whole journal of an attempt that completes."""
    now, run = time.time_ns() // 1000, claim["run"]
    records: list[entries.Entry] = [
        entries.Open(
            journal=claim["journal"], t=now, anchor=(now, now), pid=1, started=1, boot=boot_id(), host="here",
            attempt=claim["attempt"], kind="worker",
        ),
        entries.FlowRun(run["id"], now, run["flow_name"], run["name"], planned=True),
        entries.State(run["id"], now + 1, "RUNNING"),
        entries.State(run["id"], now + 2, "COMPLETED"),
        entries.Exit(now + 3, 0),
    ]  # fmt: skip
    return b"".join(entries.encode(record) + b"\n" for record in records)


@pytest.fixture(params=["sqlite", "two servers on postgres"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    """Servers of one database, and the deployment that they share."""
    if request.param == "sqlite":
        servers = [Server(tmp_path / "server", lease_s=LEASE_S)]
        yield from _opened(servers)
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database() as url:
        homes = [tmp_path / "first", tmp_path / "second"]
        yield from _opened([Server(home, lease_s=LEASE_S, database_url=url) for home in homes])


def _opened(servers: list[Server]) -> Iterator[Office]:
    try:
        for server in servers:
            server.start()
        made = Office(servers)
        yield made
        made.client.close()
    finally:
        for server in servers:
            server.stop()


@pytest.mark.timeout(600)
def test_row_40_each_run_is_given_once(office: Office) -> None:
    """1,000 runs, each of which eight waiting workers want at once: each is given to one of them, once."""
    enough = threading.Event()
    askers = [Asker(number, office, enough) for number in range(WORKERS)]
    for asker in askers:
        asker.start()
    planned = [office.plan() for _ in range(TRIES)]

    def told() -> str:
        return "\n".join(f"{a.name}: {len(a.given)} {a.failure!r}" for a in askers) + office.servers[0].told()

    def all_taken() -> bool:
        failed = [asker.failure for asker in askers if asker.failure is not None]
        assert not failed, failed
        return office.client.post("/flow_runs/count", json=_WAITING).json() == 0

    until(all_taken, "all runs to be given", within=120.0, told=told)
    enough.set()
    for asker in askers:
        asker.join(60.0)
        assert asker.failure is None

    given = [(claim["run"]["id"], asker.name, claim["journal"]) for asker in askers for claim in asker.given]
    assert sorted(set(given)) == sorted(given)  # nothing comes twice to one who says that he has it
    assert Counter(run for run, _, _ in given) == Counter(planned)
    assert len({journal for _, _, journal in given}) == TRIES
    assert sum(asker.lost for asker in askers) > 0
    assert sum(1 for asker in askers if asker.given) >= 2
    assert {office.state_of(run) for run in planned[::50]} == {"PENDING"}
    assert all("Traceback" not in server.told() for server in office.servers)


_WAITING = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}


@pytest.mark.timeout(600)
def test_row_40_under_a_limit(office: Office) -> None:
    """Under a queue's limit of 4 never more than 4 live, by the workers' own clocks, and no slot is left held."""
    limit, count = 4, 200
    office.limit_queue(limit)
    enough = threading.Event()
    askers = [Finisher(number, office, enough) for number in range(WORKERS)]
    for asker in askers:
        asker.lives = []
        asker.start()
    planned = [office.plan() for _ in range(count)]

    def all_done() -> bool:
        failed = [asker.failure for asker in askers if asker.failure is not None]
        assert not failed, failed
        return office.client.post("/flow_runs/count", json=_COMPLETED).json() == count

    until(all_done, "all runs to complete", within=120.0, told=office.servers[0].told)
    enough.set()
    for asker in askers:
        asker.join(60.0)
        assert asker.failure is None

    assert Counter(c["run"]["id"] for asker in askers for c in asker.given) == Counter(planned)
    lives = [life for asker in askers for life in asker.lives]
    assert 1 <= most_at_once(lives) <= limit
    id = office.pool["default_queue_id"]
    status = office.client.post(f"/work_queues/{id}/concurrency_status", json={}).json()
    assert (status["active_slots"], status["flow_runs"]) == (0, [])
    assert all("Traceback" not in server.told() for server in office.servers)


_COMPLETED = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}


def most_at_once(lives: list[tuple[float, float]]) -> int:
    """Return how many intervals overlap at most."""
    steps = sorted([(begin, 1) for begin, _ in lives] + [(end, -1) for _, end in lives])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most
