"""Rows 31 and 32 under a worker, and cancels that meet nobody: networks that are cut, servers and workers that are away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.model import entries

from .crew import Crew, Run
from .house import House, Json, evidence_of, history_of, state_of, until
from .server import Network, Server
from .test_worker_life_deaths import LEASE_S, Host, begin, go_on, let_end

# Servers and workers of their own, on machines that do other things too.
pytestmark = pytest.mark.timeout(180)

STUBBORN = """
    import signal
    import time
    from headrace import flow

    @flow
    def main():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("begun", flush=True)
        while True:
            time.sleep(1)
"""

BY_ATTEMPT = """
    import os
    import time
    from headrace import flow, runtime

    @flow
    def main(folder: str):
        number = runtime.flow_run.run_count
        print("try", number, "begun", flush=True)
        while not os.path.exists(os.path.join(folder, f"enough-{number}")):
            time.sleep(0.01)
        if number == 1:
            raise ValueError("the first attempt, behind the cut")
"""


@pytest.fixture
def host(tmp_path: Path, new_database_url: str | None) -> Iterator[Host]:
    """A host that reaches its server, whose lease is two seconds, by a network that can be cut."""
    with behind_network(tmp_path, new_database_url) as made:
        yield made


@pytest.fixture
def full_host(tmp_path: Path, new_database_url: str | None) -> Iterator[Host]:
    """The same, with a worker that takes one run at once.

    So it has no poll open when its network is cut: what the server answers to one would be lost on its way.
    """
    with behind_network(tmp_path, new_database_url, "--limit", "1") as made:
        yield made


@contextlib.contextmanager
def behind_network(tmp_path: Path, database_url: str | None, *options: str) -> Iterator[Host]:
    """Give a host with a worker that is started with these options."""
    server = Server(tmp_path / "server", lease_s=LEASE_S, database_url=database_url).start()
    network = Network(server.port)
    crew = Crew(tmp_path / "host", server, url=network.url)
    try:
        crew.hire(*options)
        yield Host(crew, network)
    finally:
        network.mend()
        crew.close()
        network.close()
        server.stop()


def desk(crew: Crew) -> House:
    """Return another host, whose way to the server nobody cuts."""
    return House(crew.folder / "desk", crew.server.url)


def until_lost(run: Run) -> Json:
    """Wait until a run is presumed lost."""
    return run.until(
        lambda one: state_of(one) == ("CRASHED", "Lost"), "it presumed lost", within=2 * LEASE_S + 5.0
    )


def test_row_31_network_cut_for_two_leases(host: Host) -> None:
    """A run behind a cut network is presumed Lost, and then shown in the state it earned meanwhile."""
    run = begin(host.crew)
    host.network.cut()
    cut = time.monotonic()
    go_on(run, 200)
    let_end(host.crew)
    until(lambda: not run.process().is_alive(), "the run to end")
    lost = until_lost(run)
    until(lambda: time.monotonic() > cut + 2 * LEASE_S, "two leases to pass")
    host.network.mend()
    record = run.until(lambda one: one["state_type"] == "COMPLETED", "its own end on record", within=5.0)

    assert lost["state_history"][-1]["rank"] == "presumption"
    assert "Lost" in history_of(record)
    assert history_of(record)[-4:-1] == ["Pending", "Running", "Completed"]
    ranks = [state["rank"] for state in record["state_history"]]
    assert ranks[-4:] == ["proposal", "fact", "fact", "presumption"]
    assert record["state_history"][-1]["name"] == "Lost"
    until(lambda: host.crew.spool.folders() == [], "the journal to be shipped", told=run.told)


def test_row_31_network_back_while_the_run_goes_on(host: Host) -> None:
    """A run that is presumed Lost and lives is Running again once it is heard of; nothing of it is missing."""
    run = begin(host.crew)
    host.network.cut()
    until_lost(run)
    host.network.mend()
    run.until(lambda one: one["state_type"] == "RUNNING", "it taken back", within=5.0)
    let_end(host.crew)
    record = run.end(within=1.0)

    assert state_of(record) == ("COMPLETED", "Completed")
    until(lambda: host.crew.spool.folders() == [], "the journal to be shipped", told=run.told)
    assert {state_of(task) for task in host.crew.tasks(run.id)} == {("COMPLETED", "Completed")}


def test_row_32_attempt_2_was_started_meanwhile(full_host: Host) -> None:
    """Attempt 2 on another worker decides; what attempt 1 reports late is kept in the history only."""
    crew, network = full_host.crew, full_host.network
    run = crew.run(crew.deploy(BY_ATTEMPT), folder=str(crew.folder))
    run.until_said("try 1 begun")
    run.until_running()
    network.cut()
    until_lost(run)
    desk(crew).headrace("flow-run", "retry", run.id)
    crew.hire(name="elsewhere", HEADRACE_API_URL=crew.server.url)
    run.until_said("try 2 begun", attempt=2)
    run.until(lambda one: one["state_type"] == "RUNNING", "attempt 2 on record")
    (crew.folder / "enough-1").touch()
    until(lambda: not run.process(1).is_alive(), "attempt 1 to end")
    network.mend()
    folder = run.folder(1)
    until(
        lambda: (crew.get(f"/journals/{folder.id}") or {}).get("closed"),
        "the journal of attempt 1 on record",
        told=run.told,
    )
    between = run.record()
    (crew.folder / "enough-2").touch()
    record = run.until(lambda one: one["state_type"] == "COMPLETED", "the end of attempt 2")

    assert state_of(between)[0] == "RUNNING"
    assert [state["name"] for state in between["state_history"] if state["attempt"] == 2][-1] == state_of(
        between
    )[1]
    late = [
        state for state in between["state_history"] if state["attempt"] == 1 and state["type"] == "FAILED"
    ]
    assert [state["rank"] for state in late] == ["fact"]
    assert "behind the cut" in late[0]["message"]
    assert state_of(record) == ("COMPLETED", "Completed")
    assert record["run_count"] == 2


def test_row_32_attempt_1_reports_after_the_end_of_attempt_2(full_host: Host) -> None:
    """What attempt 1 reports after the end of attempt 2 changes nothing, either."""
    crew, network = full_host.crew, full_host.network
    run = crew.run(crew.deploy(BY_ATTEMPT), folder=str(crew.folder))
    run.until_said("try 1 begun")
    run.until_running()
    network.cut()
    until_lost(run)
    (crew.folder / "enough-1").touch()
    until(lambda: not run.process(1).is_alive(), "attempt 1 to end")
    desk(crew).headrace("flow-run", "retry", run.id)
    crew.hire(name="elsewhere", HEADRACE_API_URL=crew.server.url)
    run.until_said("try 2 begun", attempt=2)
    (crew.folder / "enough-2").touch()
    run.until(lambda one: one["state_type"] == "COMPLETED", "the end of attempt 2")
    network.mend()
    folder = run.folder(1)
    until(
        lambda: (crew.get(f"/journals/{folder.id}") or {}).get("closed"),
        "the journal of attempt 1 on record",
        told=run.told,
    )
    record = run.record()

    assert state_of(record) == ("COMPLETED", "Completed")
    assert any(state["type"] == "FAILED" and state["attempt"] == 1 for state in record["state_history"])


# -- cancels


def test_cancel_of_a_run_that_nobody_has_taken(crew: Crew) -> None:
    """A run that waits for its time is Cancelled at once, and no process is ever started for it."""
    deployment = crew.deploy(STUBBORN)
    later = {"state": {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}}
    run = crew.found(crew.post(f"/deployments/{deployment.id}/create_flow_run", later)["id"])
    crew.headrace("flow-run", "cancel", run.id)
    record = run.until(lambda one: one["state_type"] == "CANCELLED", "it cancelled", within=1.0)

    assert state_of(record) == ("CANCELLED", "Cancelled")
    assert run.folders() == []


def test_cancel_while_the_server_is_away(own_crew: Crew) -> None:
    """A cancel that the server took before it was killed reaches the run once there is a server again."""
    run = own_crew.carry_out(STUBBORN, grace_seconds=1)
    run.until_said("begun")
    run.until_running()
    own_crew.headrace("flow-run", "cancel", run.id)
    own_crew.server.kill()
    own_crew.server.start()
    record = run.until(lambda one: one["state_type"] == "CANCELLED", "it cancelled", within=10.0)

    assert state_of(record) == ("CANCELLED", "Cancelled")
    assert not run.process().is_alive()
    assert evidence_of(record)["killed_by"] == "headrace"


def test_cancel_when_the_worker_is_gone(own_crew: Crew) -> None:
    """A cancel needs no worker: the run's own supervisor hears of it."""
    run = begin(own_crew, grace_seconds=2)
    own_crew.worker.kill()
    own_crew.headrace("flow-run", "cancel", run.id)
    record = run.end(within=2.0)

    assert state_of(record) == ("CANCELLED", "Cancelled")
    until(lambda: own_crew.spool.folders() == [], "the journal to be shipped", told=run.told)


def test_cancel_behind_a_cut_network(host: Host) -> None:
    """A cancel that is asked while the run cannot be reached is carried out once it can be."""
    run = begin(host.crew, grace_seconds=2)
    host.network.cut()
    desk(host.crew).headrace("flow-run", "cancel", run.id)
    go_on(run)
    host.network.mend()
    record = run.until(lambda one: one["state_type"] == "CANCELLED", "it cancelled", within=10.0)

    assert state_of(record) == ("CANCELLED", "Cancelled")
    until(lambda: not run.process().is_alive(), "its process to end")
    assert any(isinstance(entry, entries.Asked) for entry in run.lines())
