"""Rows 18 to 22: runs that are told to end, and one that only looks as if it had."""

from __future__ import annotations

import pytest

from .house import House, Process, evidence_of, history_of, state_of, until
from .server import Server
from .test_endings import TOLD_HEAD, TOLD_TO_END

GRACE_S = 1.0

TIMED = """
    import asyncio
    import time
    from collections import deque
    from itertools import repeat

    from headrace import flow

    @flow(timeout_seconds=0.5)
    {flow}

    {call}
"""


@pytest.mark.parametrize(
    ("flow", "call"),
    [
        ("def slow(): time.sleep(600)  # here it stood", "slow()"),
        ("async def slow(): await asyncio.sleep(600)  # here it stood", "asyncio.run(slow())"),
    ],
    ids=["sync", "async"],
)
def test_row_18_timeout(house: House, flow: str, call: str) -> None:
    """A flow that passes its timeout is Failed, name TimedOut: the limit, and the line where it stood."""
    script = house.start(TIMED.format(flow=flow, call=call), HEADRACE_GRACE_SECONDS=GRACE_S)
    run = house.end_of(script)

    assert script.wait() == 1
    assert state_of(run) == ("FAILED", "TimedOut")
    assert evidence_of(run)["timeout_seconds"] == 0.5
    assert "0.5 s" in run["state"]["message"]
    assert "here it stood" in evidence_of(run)["exception"]["traceback"]
    assert run["total_run_time"] < 0.5 + GRACE_S
    house.assert_never_crashed()


def test_row_18_timeout_stuck_in_c(house: House) -> None:
    """A flow that is stuck in C hears no timeout: after the grace time its process is killed, its stack kept."""
    stuck = "def slow(): deque(repeat(None), maxlen=0)"
    script = house.start(TIMED.format(flow=stuck, call="slow()"), HEADRACE_GRACE_SECONDS=GRACE_S)
    run = house.end_of(script)

    assert script.wait() < 0
    assert state_of(run) == ("FAILED", "TimedOut")
    assert evidence_of(run)["timeout_seconds"] == 0.5
    assert evidence_of(run)["killed_by"] == "headrace"
    assert "in slow" in evidence_of(run)["stack"]
    assert run["total_run_time"] < 0.5 + GRACE_S + 1.0
    house.assert_never_crashed()


@pytest.mark.parametrize("flow", TOLD_TO_END.values(), ids=TOLD_TO_END.keys())
def test_row_20_cancel_of_a_flow_that_listens(house: House, flow: str) -> None:
    """A flow that stops when a cancel is asked is Cancelled: who asked, and when."""
    script = house.start(TOLD_HEAD + flow)
    script.until_said("ready")
    script.companion()
    house.until_state(script.root(), lambda run: run["state_type"] == "RUNNING", "the run to be on record")
    house.headrace("flow-run", "cancel", script.root())
    run = house.end_of(script)

    assert "cleaned up" in script.output()
    assert state_of(run) == ("CANCELLED", "Cancelled")
    assert "Cancelling" in history_of(run)
    assert evidence_of(run)["asked_by"]
    assert evidence_of(run)["asked_at"][:4].isdigit()
    # Completed: the flow's clean-up lets its submitted task end.
    assert {task["state_type"] for task in house.tasks(run["id"])} <= {"CANCELLED", "COMPLETED"}
    house.assert_never_crashed()


def test_row_21_cancel_of_a_flow_that_does_not_listen(house: House) -> None:
    """A flow that ignores a cancel is Cancelled after the grace time, its whole process tree killed."""
    script = house.start(
        """
        import subprocess
        import sys
        import time
        from headrace import flow

        @flow
        def ignores():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            print("child", child.pid, flush=True)
            while True:
                try:
                    time.sleep(600)
                except BaseException:
                    print("not now", flush=True)

        ignores()
        """,
        HEADRACE_GRACE_SECONDS=GRACE_S,
    )
    script.until_said("child")
    child = Process(int(script.output().split("child ")[1].split()[0]))
    script.companion()
    house.until_state(script.root(), lambda run: run["state_type"] == "RUNNING", "the run to be on record")
    house.headrace("flow-run", "cancel", script.root())
    run = house.end_of(script, within=GRACE_S + 2.0)

    assert "not now" in script.output()
    assert script.wait() < 0
    assert state_of(run) == ("CANCELLED", "Cancelled")
    assert evidence_of(run)["killed_by"] == "headrace"
    assert evidence_of(run)["asked_by"]
    assert "killed" in run["state"]["message"]
    until(lambda: not child.is_alive(), "the flow's child to be killed too", within=2.0)
    house.assert_never_crashed()


@pytest.fixture
def watched_house(tmp_path_factory: pytest.TempPathFactory, watchful_server: Server) -> House:
    """A home folder before a server whose lease lasts two seconds."""
    return House(tmp_path_factory.mktemp("watched"), watchful_server.url)


def test_row_22_holds_the_gil_for_three_leases(watched_house: House) -> None:
    """A process that is deaf for three leases is Running all along: its supervisor speaks for it."""
    house = watched_house
    script = house.start("""
        import ctypes
        from headrace import flow

        @flow
        def deaf():
            print("ready", flush=True)
            ctypes.PyDLL(None).usleep(6_500_000)

        deaf()
    """)
    try:
        script.until_said("ready")
        run = house.end_of(script)

        assert state_of(run) == ("COMPLETED", "Completed")
        assert history_of(run) == ["Pending", "Running", "Completed"]
        assert run["total_run_time"] > 6.4
        house.assert_never_crashed()
    finally:
        house.close()
