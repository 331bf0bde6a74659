"""Rows 23 to 31, 39 and 42: servers, databases, supervisors, networks and hosts that go away, and come back."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.model import entries
from headrace.model.states import TERMINAL
from headrace.testing.postgres import Cluster

from .house import House, Script, evidence_of, history_of, share, state_of, until
from .server import Network, Server

LEASE_S = 2.0

STEADY = """
    import os
    import sys
    import time
    from headrace import flow, get_run_logger, task

    @task
    def step(number):
        get_run_logger().info("task %d", number)

    @flow
    def steady():
        logger = get_run_logger()
        number = 0
        while not os.path.exists(sys.argv[1]):
            number += 1
            logger.info("line %d", number)
            if number % 5 == 0:
                step(number)
            time.sleep(0.004)
        print("lines", number, flush=True)

    steady()
"""


def enough(house: House) -> Path:
    """Return the file whose making ends the flow `steady`."""
    return house.folder / "enough"


def assert_all_there_once(house: House, script: Script) -> None:
    """Check that each log line and each task run of `steady` is on record exactly once."""
    written = int(script.output().split("lines ")[1].split()[0])
    logged = house.logs(script.root())
    tasks = house.find("task_runs", {"flow_runs": {"id": {"any_": [script.root()]}}})

    assert written >= 100
    assert [f"line {n}" for n in range(1, written + 1)] == [
        line for line in logged if line.startswith("line ")
    ]
    assert [f"task {n}" for n in range(5, written + 1, 5)] == [
        line for line in logged if line.startswith("task ")
    ]
    assert Counter(state_of(task) for task in tasks) == {("COMPLETED", "Completed"): written // 5}


def held(house: House, script: Script) -> int:
    """Return how many bytes of a script's journal are on record."""
    folder = script.folder()
    journal = house.get(f"/journals/{folder.id}") if folder is not None else None
    return journal["offset"] if journal is not None else 0


def test_row_23_server_killed_and_started_again(tmp_path: Path, own_server: Server) -> None:
    """A server that is SIGKILLed again and again under a run loses nothing and doubles nothing."""
    house = House(tmp_path, own_server.start().url)
    script = house.start(STEADY, str(enough(house)))
    try:
        for _ in range(3):
            known = held(house, script)
            until(lambda before=known: held(house, script) > before, "more on record", told=script.told)
            own_server.kill()
            own_server.start()
        enough(house).touch()
        run = house.end_of(script, within=2.0)

        assert state_of(run) == ("COMPLETED", "Completed")
        assert history_of(run) == ["Pending", "Running", "Completed"]
        assert_all_there_once(house, script)
    finally:
        house.close()


def test_row_24_server_down_when_the_run_ends(tmp_path: Path, own_server: Server) -> None:
    """A run that ends while the server is down is on record soon after it is up, with the times of its life."""
    house = House(tmp_path, own_server.start().url)
    script = house.start(STEADY, str(enough(house)))
    try:
        until(lambda: house.flow_run(script.root()), "the run on record", told=script.told)
        own_server.kill()
        seen = len(script.lines())
        until(lambda: len(script.lines()) > seen + 200, "the run to go on", told=script.told)
        enough(house).touch()
        script.wait()
        ended_us = time.time_ns() // 1000
        own_server.start()
        run = house.until_state(
            script.root(), lambda found: found["state_type"] in TERMINAL, "the end on record", within=5.0
        )

        assert state_of(run) == ("COMPLETED", "Completed")
        assert history_of(run) == ["Pending", "Running", "Completed"]
        assert moment_us(run["end_time"]) < ended_us
        assert moment_us(run["end_time"]) == script.journal().runs[script.root()].end
        assert_all_there_once(house, script)
    finally:
        house.close()


def moment_us(text: str) -> int:
    """Return the microseconds since 1970 that a time on the wire means."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    since = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class Records(NamedTuple):
    """A home folder whose records are kept in PostgreSQL, and the log of who writes them there, if that is a server."""

    house: House
    log: Path | None


@pytest.fixture(params=["server", "embedded"])
def records(request: pytest.FixtureRequest, postgres: Cluster, tmp_path: Path) -> Iterator[Records]:
    """Scripts before a server on PostgreSQL, and scripts whose companions write into it themselves."""
    with postgres.database() as url, contextlib.ExitStack() as closing:
        closing.callback(postgres.start)  # to drop the database, whatever became of the test
        server = Server(tmp_path / "server", database_url=url) if request.param == "server" else None
        if server is not None:
            closing.callback(server.start().kill)
        house = House(tmp_path, server.url) if server is not None else House(tmp_path, database_url=url)
        closing.callback(house.close)
        yield Records(house, server and server.home / "server.log")


def test_row_25_postgresql_restarted(records: Records, postgres: Cluster) -> None:
    """A database that is restarted, and even SIGKILLed, under a run loses nothing and doubles nothing."""
    house = records.house
    script = house.start(STEADY, str(enough(house)))
    until(lambda: house.flow_run(script.root()), "the run on record", told=script.told)
    for end in (postgres.stop, postgres.kill):
        known = len(house.logs(script.root()))
        end()
        seen = len(script.lines())
        until(lambda before=seen: len(script.lines()) > before + 100, "the run to go on", told=script.told)
        postgres.start()
        until(
            lambda before=known: len(house.logs(script.root())) > before + 20,
            "more lines on record",
            within=5.0,
            told=script.told,
        )
    enough(house).touch()
    run = house.end_of(script)

    assert state_of(run) == ("COMPLETED", "Completed")
    assert history_of(run) == ["Pending", "Running", "Completed"]
    assert_all_there_once(house, script)
    house.assert_never_crashed()
    assert records.log is None or "Traceback" not in records.log.read_text()


def test_row_28_supervisor_killed(house: House) -> None:
    """A run whose supervisor is SIGKILLed goes on; another takes over and the run ends in its own state."""
    script = house.start(STEADY, str(enough(house)))
    first = script.companion()
    until(lambda: house.flow_run(script.root()), "the run on record", told=script.told)
    first.kill()
    second = script.companion(2)
    enough(house).touch()
    run = house.end_of(script)

    assert second.pid != first.pid
    assert state_of(run) == ("COMPLETED", "Completed")
    assert history_of(run) == ["Pending", "Running", "Completed"]
    assert_all_there_once(house, script)


def test_row_28_supervisor_killed_just_before_the_end(house: House) -> None:
    """A run whose supervisor is dead when it ends starts another one, which ships the end."""
    script = house.start(
        """
        import sys
        from headrace import flow

        @flow
        def short():
            print("ready", flush=True)
            sys.stdin.readline()

        short()
        """,
        stdin=subprocess.PIPE,
    )
    script.until_said("ready")
    script.companion().kill()
    began = next(entry.t for _, entry in script.lines() if isinstance(entry, entries.Open))
    # No second companion is started while the first may still be starting, 3 s long.
    until(lambda: time.time_ns() // 1000 > began + 3_100_000, "the first seconds to pass")
    assert script.process.stdin is not None
    script.process.stdin.close()
    run = house.end_of(script, within=5.0)

    assert state_of(run) == ("COMPLETED", "Completed")
    house.assert_never_crashed()


def test_row_28_supervisor_killed_while_the_run_records_nothing(house: House) -> None:
    """A run that waits in one call, and so writes nothing, gets another supervisor all the same."""
    script = house.start(
        """
        import sys
        from headrace import flow

        @flow
        def silent():
            print("ready", flush=True)
            sys.stdin.readline()

        silent()
        """,
        stdin=subprocess.PIPE,
    )
    script.until_said("ready")
    first = script.companion()
    began = next(entry.t for _, entry in script.lines() if isinstance(entry, entries.Open))
    # No second companion is started while the first may still be starting, 3 s long.
    until(lambda: time.time_ns() // 1000 > began + 3_100_000, "the first seconds to pass")
    first.kill()
    killed = time.monotonic()
    second = script.companion(2)
    assert time.monotonic() - killed < 3.0 * share()
    assert second.pid != first.pid
    assert script.process.stdin is not None
    script.process.stdin.close()

    assert state_of(house.end_of(script)) == ("COMPLETED", "Completed")


@pytest.fixture
def network(watchful_server: Server) -> Iterator[Network]:
    """A network before a server with a lease of two seconds."""
    made = Network(watchful_server.port)
    yield made
    made.close()


@pytest.fixture
def remote(tmp_path: Path, network: Network) -> Iterator[House]:
    """A home folder that reaches its server by a network that can be cut."""
    made = House(tmp_path, network.url)
    yield made
    network.mend()
    made.close()


def test_row_29_and_30_host_lost_and_back(remote: House, network: Network) -> None:
    """When run and supervisor are both gone the run is presumed Lost; the journal's own tale replaces that."""
    house = remote
    script = house.start(STEADY, str(enough(house)))
    companion = script.companion()
    until(lambda: house.flow_run(script.root()) and house.logs(script.root()), "the run on record")
    network.cut()  # what is written from now on is on the lost host alone
    seen = len(script.lines())
    until(lambda: len(script.lines()) > seen + 50, "the run to go on", told=script.told)
    companion.kill()
    script.kill()
    network.mend()

    lost = house.until_state(
        script.root(),
        lambda run: run["state_type"] in TERMINAL,
        "the run presumed lost",
        within=LEASE_S + 5.0,
    )
    assert state_of(lost) == ("CRASHED", "Lost")
    assert evidence_of(lost)["certainty"] == "presumed"
    assert evidence_of(lost)["last_sign_of_life"][:4].isdigit()
    assert evidence_of(lost)["host"]
    assert lost["state_history"][-1]["rank"] == "presumption"

    assert_row_30(house, script)


def assert_row_30(house: House, script: Script) -> None:
    """Check that the next companion on a host ships what was left behind: states and logs complete."""
    house.start("""
        from headrace import flow

        @flow
        def next_one():
            pass

        next_one()
    """)
    run = house.until_state(
        script.root(),
        lambda run: run["state_history"][-1]["rank"] == "verdict",
        "the verdict on the run whose journal was left behind",
        within=10.0,
    )

    assert state_of(run) == ("CRASHED", "Lost")
    assert "Lost" in history_of(run)
    written = [entry.message for _, entry in script.lines() if isinstance(entry, entries.Log)]
    assert len(written) > 50
    assert sorted(written) == sorted(house.logs(script.root()))
    assert evidence_of(run)["last_output"] == written[-20:]


def test_row_31_network_cut_for_two_leases(remote: House, network: Network) -> None:
    """A run behind a cut network is presumed Lost, and then shown in the state it earned meanwhile."""
    house = remote
    script = house.start(STEADY, str(enough(house)))
    script.companion()
    until(lambda: house.flow_run(script.root()), "the run on record")
    direct = House(house.folder, f"http://127.0.0.1:{network.target_port}/api")
    try:
        network.cut()
        seen = len(script.lines())
        until(lambda: len(script.lines()) > seen + 200, "the run to go on behind the cut", told=script.told)
        enough(house).touch()
        script.wait()
        lost = direct.until_state(
            script.root(), lambda run: run["state_type"] in TERMINAL, "it presumed lost", within=LEASE_S + 5.0
        )
        until(lambda: time.monotonic() > script.died_at + 2 * LEASE_S, "two leases to pass")
        network.mend()
        run = direct.until_state(
            script.root(), lambda run: run["state_type"] == "COMPLETED", "its own end on record", within=5.0
        )
        assert_all_there_once(direct, script)
    finally:
        direct.close()

    assert state_of(lost) == ("CRASHED", "Lost")
    assert history_of(run) == ["Pending", "Running", "Completed", "Lost"]
    assert [state["rank"] for state in run["state_history"]] == ["fact", "fact", "fact", "presumption"]


def test_row_39_torn_last_line(house: House) -> None:
    """A journal whose last line is torn is shipped up to it, and the run is judged."""
    script = house.start(STEADY, str(enough(house)))
    companion = script.companion()
    until(lambda: house.flow_run(script.root()), "the run on record")
    companion.kill()
    script.kill()
    folder = script.folder()
    assert folder is not None
    whole = [entry.message for _, entry in script.lines() if isinstance(entry, entries.Log)]
    with folder.journal.open("ab") as file:
        file.write(b'{"k":"log","t":1790000000000000,"level":20,"logger":"headrace.flow_r')
    house.start("from headrace import flow\n@flow\ndef next_one(): pass\nnext_one()\n")
    run = house.until_state(
        script.root(), lambda found: found["state_type"] in TERMINAL, "the verdict on record", within=10.0
    )

    assert state_of(run) == ("CRASHED", "Lost")
    assert sorted(whole) == sorted(house.logs(script.root()))
    until(lambda: not house.spool.folders(), "every journal to be shipped")


def test_row_42_killed_with_no_server(embedded: House) -> None:
    """A plain script that was SIGKILLed with no server is shown as Crashed by the next command."""
    script = embedded.start(STEADY, str(enough(embedded)))
    script.companion()
    script.until_said("line 10")
    script.kill()
    embedded.end_of(script)
    listed = embedded.headrace_json("flow-run", "ls")

    assert [(run["id"], state_of(run)) for run in listed] == [(script.root(), ("CRASHED", "Crashed"))]


def test_row_42_killed_with_its_companion(embedded: House) -> None:
    """A command that meets a journal left behind ships and judges it before it answers."""
    script = embedded.start(STEADY, str(enough(embedded)))
    companion = script.companion()
    script.until_said("line 10")
    companion.kill()
    script.kill()
    listed = embedded.headrace_json("flow-run", "ls")

    assert [(run["id"], state_of(run)) for run in listed] == [(script.root(), ("CRASHED", "Lost"))]
    assert not embedded.spool.folders()
