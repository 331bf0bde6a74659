"""Journals on their way: while the server is away, at a script's end, and as the first process of a container."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.model import entries
from headrace.model.states import TERMINAL
from tests.verdicts.house import House, state_of, until
from tests.verdicts.server import Server

NOWHERE = "http://127.0.0.1:9/api"
"""Port 9 discards, if anybody listens there at all."""

TALKS = """
    import os
    import sys
    import time
    from headrace import flow, get_run_logger, task

    @task
    def step(number):
        return number

    @flow
    def talks():
        logger = get_run_logger()
        {body}
        print("said it all", flush=True)
        if sys.argv[1:]:
            while not os.path.exists(sys.argv[1]):
                {meanwhile}

    talks()
"""

LOUD = """
        for number in range(1500):
            logger.debug("debug %d %s", number, "d" * 400)
            if number % 3 == 0:
                logger.info("info %d %s", number, "i" * 400)
            if number % 15 == 0:
                step(number)
"""


def dropped(house: House) -> int:
    """Return how many lines the last script's companion told to have dropped."""
    return sum(e.logs for _, e in house.scripts[-1].lines() if isinstance(e, entries.Missing))


@pytest.mark.parametrize(
    ("limit", "infos_kept"), [(700_000, 500), (300_000, None)], ids=["debug logs go", "then logs"]
)
def test_spool_budget_while_the_server_is_away(
    tmp_path: Path, own_server: Server, limit: int, infos_kept: int | None
) -> None:
    """Of a journal past its budget the oldest debug logs go first, then logs, never states, and it is told."""
    own_server.start()
    own_server.kill()
    house = House(tmp_path, own_server.url)
    enough = tmp_path / "enough"
    script = house.start(
        TALKS.format(body=LOUD.strip(), meanwhile="time.sleep(0.02)"),
        str(enough),
        HEADRACE_SPOOL_LIMIT=limit,
        HEADRACE_LOGGING_LEVEL="DEBUG",
        HEADRACE_LOGGING_CONSOLE=0,
    )
    try:
        script.until_said("said it all")
        until(lambda: dropped(house), "the budget to be kept", told=script.told)
        folder = script.folder()
        assert folder is not None
        assert folder.journal.stat().st_blocks * 512 <= limit * 1.1
        own_server.start()
        enough.touch()
        run = house.end_of(script, within=6.0)
        lines = house.logs(run["id"])
        debugs = [int(line.split()[1]) for line in lines if line.startswith("debug ")]
        infos = [int(line.split()[1]) for line in lines if line.startswith("info ")]

        assert state_of(run) == ("COMPLETED", "Completed")
        assert {state_of(task) for task in house.tasks(run["id"])} == {("COMPLETED", "Completed")}
        assert len(house.tasks(run["id"])) == 100
        engines = 2 - sum(line.startswith(("Began", "Ended")) for line in lines)
        assert dropped(house) == (1500 - len(debugs)) + (500 - len(infos)) + engines
        if infos_kept is not None:
            assert len(infos) == infos_kept, "debug logs go before any other"
            assert 0 < len(debugs) < 1500
            assert debugs[-1] == 1499, "the oldest go first"
        else:
            assert len(infos) < 500
            assert infos[-1] == 1497, "the oldest go first"
        told = until(lambda: house.logs(run["id"], logger="headrace.supervisor"), "the loss told in the log")
        assert str(dropped(house)) in told[-1]
        journal = until(lambda: house.get(f"/journals/{folder.id}"), "the journal on record")
        assert journal["missing"] == dropped(house)
        house.assert_never_crashed()
    finally:
        house.close()


def test_a_script_does_not_wait_for_shipping(embedded: House) -> None:
    """With the server away a script ends at once; its journal stays in the spool."""
    script = embedded.start(
        TALKS.format(body="pass", meanwhile="time.sleep(0.02)") + "\n    print('at', time.time())",
        HEADRACE_API_URL=NOWHERE,
    )
    script.wait()
    ended = float(script.output().split("at ")[1].split()[0])

    assert time.time() - (time.monotonic() - script.died_at) - ended < 1.0
    assert [folder.shipped() for folder in embedded.spool.folders()] == [0]


def test_a_script_that_is_told_to_waits_for_shipping(embedded: House) -> None:
    """With `wait_for_shipping` the end is on record when the script's process ends."""
    script = embedded.start(
        TALKS.format(body="step(1)", meanwhile="time.sleep(0.02)"), HEADRACE_WAIT_FOR_SHIPPING=20
    )
    assert embedded.client
    script.wait()
    run = embedded.flow_run(script.root())

    assert run is not None
    assert state_of(run) == ("COMPLETED", "Completed")
    assert "not on the server yet" not in script.output()


def test_a_script_that_waits_in_vain_says_what_is_left(embedded: House) -> None:
    """The wait is bounded, and its end says how many bytes are left, where, and what to do."""
    script = embedded.start(
        TALKS.format(body="pass", meanwhile="time.sleep(0.02)"),
        HEADRACE_API_URL=NOWHERE,
        HEADRACE_WAIT_FOR_SHIPPING=0.5,
    )
    script.wait(within=10.0)

    assert script.process.returncode == 0
    assert "bytes of this run's journal are not on the server yet" in script.output()
    assert str(embedded.spool.open) in script.output()
    assert "headrace journal ship" in script.output()


def test_journal_ship_sends_what_was_left(embedded: House) -> None:
    """What a script could not ship in its life is shipped by the command that its message names."""
    enough = embedded.folder / "enough"
    script = embedded.start(
        TALKS.format(body="step(1)", meanwhile="time.sleep(0.02)"), str(enough), HEADRACE_API_URL=NOWHERE
    )
    companion = script.companion()
    enough.touch()
    script.wait()
    companion.kill()
    told = embedded.headrace("journal", "ship")
    run = embedded.flow_run(script.root())

    assert "Shipped" in told
    assert run is not None
    assert state_of(run) == ("COMPLETED", "Completed")
    assert embedded.spool.folders() == []


def test_a_server_that_starts_under_a_script_takes_over(tmp_path: Path) -> None:
    """A script that began without a server ships to the one that is started in its home folder meanwhile."""
    house = House(tmp_path)
    server = Server(house.home)
    enough = tmp_path / "enough"
    script = house.start(TALKS.format(body="step(1)", meanwhile="step(2); time.sleep(0.01)"), str(enough))
    stack = contextlib.ExitStack()
    try:
        script.until_said("said it all")
        until(lambda: house.flow_run(script.root()), "the run on record, without a server", told=script.told)
        server.start()
        seen = stack.enter_context(contextlib.closing(House(tmp_path, server.url)))
        before = len(seen.tasks(script.root()))
        until(lambda: len(seen.tasks(script.root())) > before, "tasks to reach the server", told=script.told)
        server.kill()
        lines = len(script.lines())
        until(lambda: len(script.lines()) > lines + 20, "the script to go on")
        enough.touch()
        run = house.end_of(script, within=5.0)

        assert state_of(run) == ("COMPLETED", "Completed")
        steps = sum(isinstance(entry, entries.TaskRun) for _, entry in script.lines())
        assert len(house.tasks(run["id"])) == steps
        house.assert_never_crashed()
    finally:
        stack.close()
        server.kill()
        house.close()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
@pytest.mark.parametrize(("end", "state"), [("pass", "COMPLETED"), ("1 / 0", "FAILED")])
def test_a_script_that_is_the_first_process_waits(embedded: House, end: str, state: str) -> None:
    """As process 1 of a container a script ends when its journal is shipped: its companion dies with it."""
    path = embedded.folder / "first.py"
    path.write_text(
        "from headrace import flow\n@flow\ndef first():\n    " + end + "\nfirst()\n", encoding="utf-8"
    )
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, str(path)],
        env=embedded.environment(),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    runs = embedded.find("flow_runs", {})

    assert done.returncode == (0 if state == "COMPLETED" else 1), done.stderr
    assert "not on the server yet" not in done.stderr
    assert [run["state_type"] for run in runs] == [state]
    assert all(run["state_type"] in TERMINAL for run in runs)
