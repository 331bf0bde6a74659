"""Runs that go on while commands look at them: followed, watched, cancelled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import HEADRACE, Headrace

SCRIPT = """
import pathlib, time
from headrace import flow, get_run_logger

gate = pathlib.Path("gate")

@flow(flow_run_name="little-crane")
def child():
    pass

@flow(flow_run_name="patient-crane")
def waits():
    child()
    logger = get_run_logger()
    logger.info("before the gate")
    while not gate.exists():
        time.sleep(0.01)
    logger.info("behind the gate")
    if gate.read_text():
        raise RuntimeError(gate.read_text())

waits()
"""

DEADLINE_S = 60


class Script:
    """A script whose flow waits for a file."""

    def __init__(self, folder: Path) -> None:
        (folder / "flow.py").write_text(SCRIPT)
        self._gate = folder / "gate"
        self.process = subprocess.Popen(
            [sys.executable, "flow.py"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def go_on(self, error: str = "") -> None:
        """Let the flow end: well, or with an error."""
        draft = self._gate.with_name("draft")
        draft.write_text(error)
        draft.replace(self._gate)


@pytest.fixture
def script(tmp_path: Path, inside: Headrace) -> Iterator[Script]:
    """A script that runs; commands know its run."""
    script = Script(tmp_path)
    try:
        wait_for_state(inside, "RUNNING")
        yield script
    finally:
        script.process.kill()
        script.process.wait()


def wait_for_state(inside: Headrace, state: str) -> None:
    """Ask until the only run is in a state."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        runs = inside("flow-run", "ls", "--flow", "waits", "-o", "json").json
        if runs and runs[0]["state_type"] == state:
            return
    raise AssertionError(f"no run is {state} after {DEADLINE_S} s: {runs}")


def follow(*arguments: str) -> subprocess.Popen[str]:
    """Start a command that goes on."""
    return subprocess.Popen(
        [str(HEADRACE), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def test_a_run_is_watched_to_its_end(script: Script) -> None:
    """States are told as they come, and the exit code is the end's."""
    with follow("flow-run", "watch", "patient-crane") as watch:
        assert watch.stdout is not None
        before = [watch.stdout.readline() for _ in range(3)]
        script.go_on("no luck")
        after = watch.stdout.read()
        code = watch.wait(DEADLINE_S)

    assert [word for word in ("patient-crane", "Pending", "Running") if word in "".join(before)] == [
        "patient-crane",
        "Pending",
        "Running",
    ]
    assert "Failed" in after
    assert "no luck" in after
    assert code == 1


def test_a_log_is_followed_to_its_end(script: Script) -> None:
    """Each line once, as it comes."""
    with follow("flow-run", "logs", "-f", "patient-crane") as logs:
        assert logs.stdout is not None
        first = logs.stdout.readline()
        while "before the gate" not in first:
            first = logs.stdout.readline()
        script.go_on()
        rest = logs.stdout.read()
        code = logs.wait(DEADLINE_S)

    assert "before the gate" not in rest
    assert rest.count("behind the gate") == 1
    assert code == 0


def test_a_cancelled_run_ends_and_tells_who_asked(script: Script, inside: Headrace) -> None:
    """The command says what will happen; then it happens."""
    asked = inside("flow-run", "cancel", "patient-crane")
    watched = inside("flow-run", "watch", "patient-crane")
    script.process.wait(DEADLINE_S)
    shown = inside("flow-run", "inspect", "patient-crane").out

    assert asked.code == 0
    assert "patient-crane is Cancelling" in asked.out
    assert watched.code == 5
    assert "Cancelled" in shown
    assert "asked by" in shown


def test_a_subflow_is_named_beside_the_task_that_stands_for_it(script: Script, inside: Headrace) -> None:
    """So one finds the way down."""
    out = inside("flow-run", "inspect", "patient-crane").out

    assert "flow run little-crane" in out.split("Tasks (1)")[1]


def test_a_killed_script_is_shown_as_crashed(script: Script, inside: Headrace) -> None:
    """By the next list, with the signal as evidence (VERDICTS.md, row 42)."""
    script.process.kill()
    script.process.wait()
    wait_for_state(inside, "CRASHED")
    shown = inside("flow-run", "inspect", "patient-crane").out

    assert "SIGKILL" in shown or "ended without reporting" in shown
    assert "before the gate" in shown


def test_a_run_that_is_killed_with_its_supervisor_is_watched_to_its_end(script: Script, home: Path) -> None:
    """Nobody is left to tell, so who watches takes the journal up."""
    (spool,) = (home / "spool").iterdir()
    records = [json.loads(line) for line in (spool / "journal.jsonl").read_text().splitlines()]
    supervisor = next(record["pid"] for record in records if record["k"] == "adopted")
    with follow("flow-run", "watch", "patient-crane") as watch:
        assert watch.stdout is not None
        assert "patient-crane" in watch.stdout.readline()
        os.kill(supervisor, signal.SIGKILL)
        script.process.kill()
        script.process.wait()
        after = watch.stdout.read()
        code = watch.wait(DEADLINE_S)

    assert "Lost" in after
    assert code == 4


def test_a_living_journal_is_listed_as_running(script: Script, inside: Headrace) -> None:
    """And nobody else ships it."""
    row = inside("journal", "ls", "-o", "json").json[0]
    shipped = inside("journal", "ship")

    assert (row["status"], row["flows"], row["state_name"]) == ("running", ["waits"], "Running")
    assert shipped.code == 0
    assert "running" in shipped.err
