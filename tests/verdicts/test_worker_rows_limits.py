"""Rows 18 to 22 under a worker: runs that are told to end, and one that only looks as if it had."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.journal.spool import owner_of

from .crew import Crew, Run, at_work
from .house import Json, Process, evidence_of, history_of, state_of, until
from .test_worker_rows_endings import (
    TOLD_HEAD,
    TOLD_TO_END,
    assert_fact,
    assert_nothing_left,
    assert_verdict,
    types_of,
)

GRACE_S = 1.0

TIMED = """
    import asyncio
    import time
    from collections import deque
    from itertools import repeat

    from headrace import flow

    @flow(timeout_seconds=0.5)
    {flow}
"""


@pytest.mark.parametrize(
    "flow",
    [
        "def main(): time.sleep(600)  # here it stood",
        "async def main(): await asyncio.sleep(600)  # here it stood",
    ],
    ids=["sync", "async"],
)
def test_row_18_timeout(crew: Crew, flow: str) -> None:
    """A flow that passes its timeout is Failed, name TimedOut: the limit, and the line where it stood."""
    given = crew.carry_out(TIMED.format(flow=flow), grace_seconds=GRACE_S)
    run = given.end(within=1.0)

    assert state_of(run) == ("FAILED", "TimedOut")
    assert evidence_of(run)["timeout_seconds"] == 0.5
    assert "0.5 s" in run["state"]["message"]
    assert "here it stood" in evidence_of(run)["exception"]["traceback"]
    assert 0.5 <= run["total_run_time"] < 0.5 + GRACE_S + 1.0
    assert_fact(crew, run)
    assert_nothing_left(given)


@pytest.mark.parametrize("start", ["warm", "fresh"])
def test_row_18_timeout_stuck_in_c(crew: Crew, start: str) -> None:
    """A flow that is stuck in C hears no timeout: after the grace time its process is killed, its stack kept."""
    stuck = "def main(): deque(repeat(None), maxlen=0)"
    given = crew.carry_out(TIMED.format(flow=stuck), grace_seconds=GRACE_S, start=start)
    run = given.end(within=1.0)

    assert state_of(run) == ("FAILED", "TimedOut")
    evidence = evidence_of(run)
    assert evidence["timeout_seconds"] == 0.5
    assert evidence["timeout_of"] == "flow"
    assert evidence["killed_by"] == "headrace"
    assert "in main" in evidence["stack"]
    assert run["total_run_time"] < 0.5 + GRACE_S + 1.0
    assert "CRASHED" not in types_of(run)
    assert_verdict(run)
    assert_nothing_left(given)


def test_row_18_timeout_of_the_job(crew: Crew) -> None:
    """The job's own timeout ends a process whatever it does, its children too."""
    given = crew.carry_out(
        """
        import subprocess
        import sys
        from headrace import flow

        @flow
        def main():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            print("child", child.pid)
            child.wait()
        """,
        timeout=1.5,
        grace_seconds=GRACE_S,
    )
    child = Process(int(given.until_said("child")))
    run = given.end(within=1.0)

    assert state_of(run) == ("FAILED", "TimedOut")
    assert evidence_of(run)["timeout_seconds"] == 1.5
    assert evidence_of(run)["timeout_of"] == "job"
    assert "in main" in evidence_of(run)["stack"]
    assert "1.5 s" in run["state"]["message"]
    assert_verdict(run)
    assert_nothing_left(given)
    assert not child.is_alive()


def cancel(crew: Crew, id: str, by: str, wanted: tuple[str, ...] = ("ACCEPT",)) -> None:
    """Ask for a cancel, by the command line or as a client of the contract does; ``wanted`` may be its answers."""
    if by == "command":
        crew.headrace("flow-run", "cancel", id)
        return
    answer = crew.post(f"/flow_runs/{id}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    assert answer["status"] in wanted


def assert_asked(run: Json, before: float) -> None:
    """Check that the evidence says who asked for the cancel, and when: after ``before``."""
    asked_at = evidence_of(run)["asked_at"]

    assert evidence_of(run)["asked_by"]
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(before)) <= asked_at
    assert asked_at[:19] <= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    assert "Cancelling" in history_of(run)
    assert "CRASHED" not in types_of(run)


@pytest.mark.parametrize("by", ["command", "client"])
@pytest.mark.parametrize("flow", TOLD_TO_END.values(), ids=TOLD_TO_END.keys())
def test_row_20_cancel_of_a_flow_that_listens(crew: Crew, flow: str, by: str) -> None:
    """A flow that stops when a cancel is asked is Cancelled: who asked, and when."""
    given = crew.carry_out(TOLD_HEAD + flow)
    given.until_said("ready")
    given.until_running()
    before = time.time()
    cancel(crew, given.id, by)
    run = given.end(within=1.0, patience=2.0)

    assert state_of(run) == ("CANCELLED", "Cancelled")
    assert_asked(run, before)
    # Completed: the flow's clean-up lets its submitted task end.
    assert {task["state_type"] for task in crew.tasks(run["id"])} <= {"CANCELLED", "COMPLETED"}
    assert_fact(crew, run)
    assert_nothing_left(given)
    assert "cleaned up" in crew.logs(run["id"])


def test_row_20_hooks_run_when_cancelled(crew: Crew) -> None:
    """A cancelled flow has its grace time to clean up: its hook runs, in its own process."""
    given = crew.carry_out(
        """
        import time
        from headrace import flow

        def tidy(flow, run, state):
            print("tidied after", state.name)

        @flow(on_cancellation=[tidy])
        def main():
            print("ready")
            time.sleep(600)
        """
    )
    given.until_said("ready")
    given.until_running()
    cancel(crew, given.id, "command")
    run = given.end(within=1.0, patience=2.0)

    assert state_of(run) == ("CANCELLED", "Cancelled")
    assert_nothing_left(given)
    assert "tidied after Cancelled" in " ".join(crew.logs(run["id"]))


def assert_nobody_runs(crew: Crew) -> None:
    """Check that no process is left of any run, and no journal unshipped."""

    def living() -> list[int]:
        headers = [owner_of(folder) for folder in crew.spool.folders()]
        return [header.pid for header in headers if header is not None and header.pid]

    until(lambda: not crew.spool.folders(), "all journals to be shipped", told=lambda: str(living()))


def test_row_20_cancel_at_any_moment(crew: Crew) -> None:
    """A run that is cancelled while it waits, is given to a worker or is being started is Cancelled at once."""
    deployment = crew.deploy(
        """
        import time
        from headrace import flow

        @flow
        def main():
            time.sleep(600)
        """,
        grace_seconds=GRACE_S,
    )
    chance = random.Random(20)
    for _ in range(12):
        given = crew.run(deployment)
        time.sleep(chance.uniform(0.0, 0.3))  # the moment is what varies, not what is waited for
        before = time.time()
        cancel(crew, given.id, "client", wanted=("ACCEPT", "REJECT"))
        run = given.end(within=1.0, patience=2.0)

        assert state_of(run) == ("CANCELLED", "Cancelled")
        assert evidence_of(run)["asked_by"]
        assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(before)) <= evidence_of(run)["asked_at"]
        assert "CRASHED" not in types_of(run)
    assert_nobody_runs(crew)
    assert {run["state_type"] for run in map(Run.record, crew.runs)} == {"CANCELLED"}, "none came back"


def test_row_20_cancel_while_the_code_is_loaded(crew: Crew) -> None:
    """A run whose module is still being imported has begun nothing: it is Cancelled, and its process ended."""
    given = crew.carry_out(
        """
        import time

        print("importing")
        time.sleep(600)
        """,
        grace_seconds=GRACE_S,
    )
    given.until_said("importing")
    process = given.process()
    cancel(crew, given.id, "command")
    run = given.end(within=1.0, patience=2.0)

    assert state_of(run) == ("CANCELLED", "Cancelled")
    assert evidence_of(run)["asked_by"]
    assert "Cancel was asked by" in run["state"]["message"]
    until(lambda: not process.is_alive(), "its process to end", within=GRACE_S + 1.0, told=given.told)
    assert_nothing_left(given)
    assert state_of(given.record()) == ("CANCELLED", "Cancelled")


def test_row_20_cancel_between_two_tries(crew: Crew) -> None:
    """A run whose process waits to try again is Cancelled at once, and does not try again."""
    given = crew.carry_out("""
        from headrace import flow

        @flow(retries=1, retry_delay_seconds=600)
        def main():
            raise ValueError("once")
    """)
    given.until(lambda one: one["state_name"] == "AwaitingRetry", "it to wait")
    before = time.time()
    cancel(crew, given.id, "command")
    run = given.end(within=1.0, patience=2.0)

    assert state_of(run) == ("CANCELLED", "Cancelled")
    assert run["run_count"] == 1
    assert_asked(run, before)
    assert_nothing_left(given)


def test_row_20_cancel_of_a_subflow(crew: Crew) -> None:
    """A subflow lives in its parent's process: what ends it ends its parent, and both say who asked."""
    given = crew.carry_out("""
        import time
        from headrace import flow

        @flow
        def child():
            print("ready")
            time.sleep(600)

        @flow
        def main():
            child()
    """)
    given.until_said("ready")
    child = until(
        lambda: crew.find("flow_runs", {"flow_runs": {"parent_flow_run_id": {"any_": [given.id]}}}),
        "the subflow on record",
    )[0]
    before = time.time()
    cancel(crew, child["id"], "command")
    run = given.end(within=1.0, patience=2.0)

    child = crew.flow_run(child["id"]) or {}
    assert state_of(run) == state_of(child) == ("CANCELLED", "Cancelled")
    assert evidence_of(run)["asked_by"] == evidence_of(child)["asked_by"]
    assert_asked(child, before)
    assert_nothing_left(given)


IGNORES = """
    import subprocess
    import sys
    import time
    from headrace import flow

    SLEEP = "import time; time.sleep(600)"
    PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {{SLEEP!r}}]).wait()"

    @flow
    def main():
        child = subprocess.Popen([sys.executable, "-c", SLEEP])
        apart = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)
        print("children", child.pid, apart.pid)
        {deaf}
"""

DEAF = {
    "catches everything": """
        while True:
            try:
                time.sleep(600)
            except BaseException:
                print("not now")
    """,
    "ignores the signal": """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    """,
    "is stuck in C": """
        from collections import deque
        from itertools import repeat
        deque(repeat(None), maxlen=0)
    """,
    "is stopped": """
        import os
        import signal
        os.kill(os.getpid(), signal.SIGSTOP)
    """,
}
"""Bodies of flows that do not end when they are told to."""


@pytest.mark.parametrize("deaf", DEAF.values(), ids=DEAF.keys())
def test_row_21_cancel_of_a_flow_that_does_not_listen(crew: Crew, deaf: str) -> None:
    """A flow that ignores a cancel is Cancelled after the grace time, its whole process tree killed."""
    given = crew.carry_out(IGNORES.format(deaf=deaf.strip()), grace_seconds=GRACE_S)
    children = [Process(int(pid)) for pid in given.until_said("children").split()]
    given.until_running()
    before = time.time()
    cancel(crew, given.id, "command")
    run = given.end(within=1.0, patience=GRACE_S + 2.0)

    assert state_of(run) == ("CANCELLED", "Cancelled")
    assert evidence_of(run)["killed_by"] == "headrace"
    assert "killed" in run["state"]["message"]
    assert_asked(run, before)
    assert_verdict(run)
    assert_nothing_left(given)
    until(lambda: not any(child.is_alive() for child in children), "the whole tree to be killed", within=1.0)


LEASE_S = 2.0


@pytest.fixture
def watched_crew(tmp_path: Path, new_database_url: str | None) -> Iterator[Crew]:
    """A crew whose server gives leases of two seconds."""
    with at_work(tmp_path / "crew", database_url=new_database_url, lease_s=LEASE_S) as crew:
        yield crew


def test_row_22_holds_the_gil_for_three_leases(watched_crew: Crew) -> None:
    """A process that is deaf for three leases is Running all along: its supervisor speaks for it."""
    given = watched_crew.carry_out("""
        import ctypes
        from headrace import flow

        @flow
        def main():
            print("ready")
            ctypes.PyDLL(None).usleep(6_500_000)
    """)
    given.until_said("ready")
    given.until_running()
    run = given.end(within=1.0)

    assert state_of(run) == ("COMPLETED", "Completed")
    assert history_of(run)[-2:] == ["Running", "Completed"]
    assert run["total_run_time"] > 3 * LEASE_S
    assert_fact(watched_crew, run)


def test_row_22_stopped_for_three_leases(watched_crew: Crew) -> None:
    """A process that is stopped for three leases and then let go on is Running all along, and Completed."""
    given = watched_crew.carry_out("""
        import time
        from headrace import flow

        @flow
        def main():
            print("ready")
            time.sleep(1)
    """)
    given.until_said("ready")
    given.until_running()
    given.kill(signal.SIGSTOP)
    over = time.monotonic() + 3 * LEASE_S + 0.5
    until(lambda: time.monotonic() > over, "three leases to pass")
    assert state_of(given.record()) == ("RUNNING", "Running")
    given.kill(signal.SIGCONT)
    run = given.end(within=1.0)

    assert state_of(run) == ("COMPLETED", "Completed")
    assert history_of(run)[-2:] == ["Running", "Completed"]
    assert_fact(watched_crew, run)
