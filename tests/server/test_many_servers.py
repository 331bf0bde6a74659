"""Several server processes on one PostgreSQL: what one is told the others know, one turns the loops, each may go."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.errors import SettingError
from headrace.model.states import TERMINAL
from headrace.server import process
from headrace.settings import load
from headrace.testing.postgres import Cluster

from ..verdicts.crew import Crew
from ..verdicts.house import House, clean_environment, history_of, share, state_of, until
from ..verdicts.server import Server
from ..verdicts.test_outages import STEADY, assert_all_there_once, enough
from .balancer import RoundRobin

pytestmark = pytest.mark.timeout(180)  # each starts servers of its own: seconds each on a busy machine

TAKE_OVER_S = 10.0
CALM = STEADY.replace("time.sleep(0.004)", "time.sleep(0.02)")
"""Some forty lines and eight task runs a second: each of them is looked for afterwards."""

SILENT = """
    import os
    import sys
    import time
    from headrace import flow

    @flow
    def silent():
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.02)

    silent()
"""

QUICK = """
    from headrace import flow

    @flow
    def main(file, number):
        with open(file, "a") as ran:
            ran.write(f"{number}\\n")
"""


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    """The URL of a new database."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def servers(url: str, tmp_path: Path) -> Iterator[Callable[..., list[Server]]]:
    """Start so many servers on one database, each with a home of its own, as on hosts of their own."""
    made: list[Server] = []

    def start(count: int, lease_s: float | None = None) -> list[Server]:
        made.extend(
            Server(tmp_path / f"server_{number}", database_url=url, lease_s=lease_s).start()
            for number in range(count)
        )
        return made

    yield start
    for server in made:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGCONT)  # a test may have stopped it
        server.kill()


def figures(server: Server) -> dict[str, float]:
    """Return what a server tells Prometheus, ``{name of a series without labels: value}``."""
    text = httpx.get(server.url.removesuffix("/api") + "/metrics", timeout=10, trust_env=False).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: sample.value for sample in samples if not sample.labels}


def turns_loops(server: Server) -> bool:
    """Say whether the loops turn at this server."""
    return figures(server)["headrace_loops_held"] == 1


def test_loops_move_when_their_server_stands_still_or_dies_and_never_turn_twice(
    servers: Callable[..., list[Server]],
) -> None:
    """Within ten seconds of SIGSTOP and of SIGKILL; who stood still sees that it holds them no more."""
    first, second = servers(2)
    assert [turns_loops(first), turns_loops(second)] == [True, False]
    planned = schedule(second)

    os.kill(first.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    until(lambda: turns_loops(second), "the second to take over", within=TAKE_OVER_S)
    taken_s = time.monotonic() - stopped
    os.kill(first.pid, signal.SIGCONT)
    assert [turns_loops(first), turns_loops(second)] == [False, True]

    second.kill()
    killed = time.monotonic()
    until(lambda: turns_loops(first), "the first to take over again", within=TAKE_OVER_S)
    print(f"taken over after {taken_s:.1f} s and {time.monotonic() - killed:.1f} s")
    times = planned(first)
    assert len(times) == len(set(times)) >= 3


def schedule(server: Server) -> Callable[[Server], list[str]]:
    """Make a deployment with a schedule; return what tells the planned times of its runs."""
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        flow = client.post("/flows/", json={"name": "etl"}).json()["id"]
        rule = {"schedule": {"interval": 900, "anchor_date": "2026-01-01T00:00:00Z"}}
        body = {"name": "d", "flow_id": flow, "schedules": [rule]}
        assert client.post("/deployments/", json=body).status_code == 201

    def times(of: Server) -> list[str]:
        found = httpx.post(of.url + "/flow_runs/filter", json={"limit": 200}, trust_env=False).json()
        return [run["expected_start_time"] for run in found]

    until(lambda: len(times(server)) >= 3, "its runs to be planned", within=15.0)
    return times


def test_polls_at_one_server_hear_at_once_what_another_took_in(
    servers: Callable[..., list[Server]],
) -> None:
    """A claim and a cancel: a median of five far below the second or two after which every poll looks by itself."""
    first, second = servers(2)
    with httpx.Client(base_url=first.url, trust_env=False, timeout=30) as client:
        client.post("/work_pools/", json={"name": "p", "type": "process"}).raise_for_status()
        claims = [claim_s(client, second) for _ in range(5)]
        cancels = [cancel_s(client, second) for _ in range(5)]
    print("claims", [round(each, 3) for each in claims], "cancels", [round(each, 3) for each in cancels])

    assert statistics.median(claims) < 0.4 * share()
    assert statistics.median(cancels) < 0.4 * share()


def claim_s(client: httpx.Client, other: Server) -> float:
    """Return the seconds from the making of a run here to its claim by a poll that waits there."""
    body = {"worker_id": "01a20879-4912-75ac-8e3e-b5bcc94ae52f", "worker_name": "w", "limit": 1, "wait": 20}
    poll = Waiting(
        lambda: httpx.post(f"{other.url}/work_pools/p/claim", json=body, timeout=30, trust_env=False)
    )
    poll.until_it_waits(other)
    flow = client.post("/flows/", json={"name": "etl"}).json()["id"]
    began = time.monotonic()
    run = make_run(client, flow)
    answer = poll.answer()
    took_s = time.monotonic() - began
    assert [each["run"]["id"] for each in answer["claims"]] == [run]
    client.delete(f"/flow_runs/{run}").raise_for_status()
    return took_s


def make_run(client: httpx.Client, flow: str) -> str:
    """Make a run of the pool that is due; return its id."""
    run = {"flow_id": flow, "work_pool_name": "p", "state": {"type": "SCHEDULED"}}
    answer = client.post("/flow_runs/", json=run)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def cancel_s(client: httpx.Client, other: Server) -> float:
    """Return the seconds from asking here that a run be cancelled to the answer of a poll for commands there."""
    flow = client.post("/flows/", json={"name": "etl"}).json()["id"]
    made = make_run(client, flow)
    body = {"worker_id": "01a20879-4912-75ac-8e3e-b5bcc94ae520", "worker_name": "w", "limit": 1, "wait": 20}
    journal = client.post("/work_pools/p/claim", json=body).json()["claims"][0]["journal"]
    path = f"{other.url}/journals/{journal}/commands?wait=20"
    poll = Waiting(lambda: httpx.get(path, timeout=30, trust_env=False))
    poll.until_it_waits(other)
    began = time.monotonic()
    asked = {"state": {"type": "CANCELLING"}}
    client.post(f"/flow_runs/{made}/set_state", json=asked).raise_for_status()
    assert len(poll.answer()) == 1
    return time.monotonic() - began


class Waiting:
    """A long poll in a thread."""

    def __init__(self, ask: Callable[[], httpx.Response]) -> None:
        self._answers: list[httpx.Response] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(ask()), daemon=True)
        self._thread.start()

    def until_it_waits(self, server: Server) -> None:
        """Wait until a connection is there and the server has nothing to do for it."""
        its = psutil.Process(server.pid)
        before = [-1.0]

        def idle() -> bool:
            connected = any(
                each.status == psutil.CONN_ESTABLISHED and each.laddr.port == server.port
                for each in its.net_connections()
            )
            used, last = sum(its.cpu_times()[:2]), before[0]
            before[0] = used
            return connected and used == last

        until(idle, "the poll to wait", within=10.0)

    def answer(self) -> Any:
        """Return what it was answered."""
        self._thread.join(30)
        assert self._answers[0].status_code == 200
        return self._answers[0].json()


def test_three_servers_are_replaced_under_load_and_nothing_is_lost_or_doubled(
    servers: Callable[..., list[Server]], tmp_path: Path
) -> None:
    """Scripts record forty lines a second each, a worker starts runs, and each server in turn is ended and started."""
    three = servers(3)
    balancer = RoundRobin([server.port for server in three])
    crew = Crew(tmp_path / "host", three[0], url=balancer.url)
    crew.url = balancer.url
    ran = tmp_path / "ran"
    try:
        crew.hire("--limit", "4")
        deployment = crew.deploy(QUICK)
        scripts = [crew.start(CALM, str(enough(crew))) for _ in range(2)]
        until(lambda: all(crew.flow_run(script.root()) for script in scripts), "the runs on record")
        with Asking(balancer.url, deployment.id, ran) as asking:
            for server in three:
                before = len(asking.made)
                server.stop()
                until(lambda before=before: len(asking.made) > before + 2, "runs to be made without it")
                server.start()
        enough(crew).touch()
        runs = [crew.end_of(script, within=10.0) for script in scripts]
        quick = [until_ended(crew, id) for id in asking.made]

        assert {state_of(run) for run in [*runs, *quick]} == {("COMPLETED", "Completed")}
        assert [history_of(run) for run in runs] == [["Pending", "Running", "Completed"]] * 2
        assert sorted(ran.read_text().split(), key=int) == [str(number) for number in range(len(asking.made))]
        for script in scripts:
            assert_all_there_once(crew, script)
        assert min(balancer.taken.values()) > 0
        crew.assert_never_crashed()
    finally:
        crew.close()
        balancer.close()


def until_ended(house: House, id: str) -> dict[str, Any]:
    """Wait for a run's end on record."""
    return house.until_state(id, lambda run: run["state_type"] in TERMINAL, "the run's end")


class Asking:
    """Makes runs of a deployment one after the other, again with the same key when no answer came."""

    def __init__(self, url: str, deployment: str, ran: Path) -> None:
        self.made: list[str] = []
        self._path = f"{url}/deployments/{deployment}/create_flow_run"
        self._ran = ran
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Asking:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End after the one under way."""
        self._over.set()
        self._thread.join(60)

    def _ask(self) -> None:
        while not self._over.wait(0.3):
            number = len(self.made)
            body = {"parameters": {"file": str(self._ran), "number": number}, "idempotency_key": f"n{number}"}
            try:
                answer = httpx.post(self._path, json=body, timeout=5, trust_env=False)
            except httpx.TransportError:
                continue
            if answer.status_code in (200, 201):
                self.made.append(answer.json()["id"])


def test_who_polls_at_one_server_is_not_lost_to_another_that_watches(
    servers: Callable[..., list[Server]], tmp_path: Path
) -> None:
    """Also with a lease of two seconds: each server writes the signs of life that it hears well within one."""
    watching, other = servers(2, lease_s=2.0)
    assert turns_loops(watching)
    house = House(tmp_path / "host", other.url)
    house.folder.mkdir()
    try:
        script = house.start(SILENT, str(enough(house)))
        until(lambda: house.flow_run(script.root()), "the run on record", told=script.told)
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 8.0, "four leases to pass")
        enough(house).touch()

        assert state_of(house.end_of(script, within=5.0)) == ("COMPLETED", "Completed")
        house.assert_never_crashed()
        assert "presumed lost" not in watching.told()
    finally:
        house.close()


def test_processes_share_a_port_and_a_dead_one_is_replaced(url: str, home: Path) -> None:
    """All are there when it is announced, their counts are told together, and none is left at the end."""
    settings = load().replace(server_port=0, server_workers=2, database_url=url)
    address = process.start_in_background(settings)
    try:
        fleet = psutil.Process(address["pid"])
        assert len(fleet.children()) == 2
        assert [httpx.get(address["url"] + "/ready").json() for _ in range(20)] == [{"message": "OK"}] * 20
        text = httpx.get(address["url"].removesuffix("/api") + "/metrics").text
        assert 'headrace_http_requests_total{method="GET",route="/ready",status="200"} 20.0' in text
        victim = fleet.children()[0].pid
        os.kill(victim, signal.SIGKILL)
        until(
            lambda: len([each for each in fleet.children() if each.pid != victim]) == 2,
            "another in its place",
        )
        assert httpx.get(address["url"] + "/health").json() is True
    finally:
        members = psutil.Process(address["pid"]).children()
        process.stop(settings)

    assert [each for each in members if each.is_running()] == []
    assert (
        f"(pid {victim}) ended with exit code -9; another takes its place"
        in (home / "server.log").read_text()
    )


def test_members_end_when_their_fleet_was_killed(url: str) -> None:
    """Nobody would watch them, or end them."""
    settings = load().replace(server_port=0, server_workers=2, database_url=url)
    address = process.start_in_background(settings)
    members = psutil.Process(address["pid"]).children()
    os.kill(address["pid"], signal.SIGKILL)

    until(lambda: not any(each.is_running() for each in members), "the members' end", within=10.0)


def test_sqlite_takes_one_process(home: Path) -> None:
    """And says why, and what would do."""
    with pytest.raises(SettingError, match=r"SQLite file.*HEADRACE_DATABASE_URL"):
        process.serve(load().replace(server_port=0, server_workers=2))


def test_a_server_that_drains_says_so_and_serves_on(url: str, home: Path) -> None:
    """A load balancer is told by /ready; a second signal ends it at once."""
    environ = clean_environment(
        home, HEADRACE_DATABASE_URL=url, HEADRACE_SERVER_PORT=0, HEADRACE_SERVER_DRAIN_SECONDS=60
    )
    home.mkdir()
    with (home / "log").open("wb") as log:
        started = subprocess.Popen([sys.executable, "-m", "headrace.server"], env=environ, stderr=log)
    try:
        until(lambda: (home / "server.json").exists(), "the server")
        base = json.loads((home / "server.json").read_text())["url"]
        assert httpx.get(base + "/ready").status_code == 200
        started.terminate()
        until(lambda: httpx.get(base + "/ready").status_code == 503, "it to say that it ends", within=5.0)
        assert "ends" in httpx.get(base + "/ready").json()["message"]
        assert httpx.post(base + "/flows/count").json() == 0
        started.terminate()
        assert started.wait(5) == 0
    finally:
        started.kill()
        started.wait()
