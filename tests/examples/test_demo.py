"""``headrace demo`` shows real runs in the states they earned, leaves nothing running, and does not hide a wrong one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from headrace.cli.app import run
from headrace.cli.demo import show
from headrace.cli.demo.stage import Unearned, expect

from .conftest import Reader, on_record


def processes_of(home: Path) -> list[psutil.Process]:
    """Return the living processes that have ``home`` in their command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(home) in word for word in words):
            found.append(process)
    return found


@pytest.mark.timeout(240)
def test_demo(reader: Reader, home: Path) -> None:
    done = reader.types("headrace", "demo", timeout=200)
    assert done.returncode == 0, done.stdout
    for text in (
        "files missing",
        "root cause: httpx.HTTPStatusError: Client error '409 Conflict'",
        "Failed, not Crashed",
        "all 1,000 lines and all 40 task runs are there, each exactly once",
        "Every run is in the state it earned",
    ):
        assert text in done.stdout, done.stdout

    listed = reader.types("headrace", "flow-run", "ls").stdout
    assert listed in done.stdout, "the demo's table is another than the command's"
    states = {run["flow_name"]: run["state_name"] for run in on_record("flow-run")}
    assert states == {
        "installed-packages": "Completed",
        "nightly-sync": "Failed",
        "sync-connections": "Failed",
        "archive-library": "Crashed",
        "watch-machine": "Completed",
    }

    commands = [
        line.partition("#")[0].split() for line in done.stdout.splitlines() if line.startswith("  headrace ")
    ]
    assert len(commands) == 3
    for command in commands:
        tried = reader.types(*command)
        assert tried.returncode == 0, tried.stdout

    deadline = time.monotonic() + 30
    while left := processes_of(home):
        assert time.monotonic() < deadline, f"left running: {[process.cmdline() for process in left]}"
        time.sleep(0.1)


def test_demo_says_when_a_run_is_not_in_the_state_it_earned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first flow is made to fail in its process; the demo names the run, and its exit code is 1."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if any('installed_packages' in word for word in sys.orig_argv):\n"
        "    import importlib.metadata\n"
        "    importlib.metadata.distributions = None\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(show, "PARTS", show.PARTS[:1])
    assert run(["demo"]) == 1
    told = capsys.readouterr()
    found = on_record("flow-run")[0]
    assert (
        f"WRONG: Flow run {found['name']} ({found['id']}) earned Completed, but is Failed: TypeError"
        in told.out
    )
    assert "1 of 1 parts went wrong: installed_packages.py" in told.err
    assert "Every run is in the state it earned" not in told.out


def test_a_presumption_is_not_what_was_earned() -> None:
    lost = {"name": "brave-otter", "id": "1", "state_type": "CRASHED", "state_name": "Lost", "state": None}
    with pytest.raises(Unearned, match=r"brave-otter .* earned Completed, but is Lost: no message"):
        expect(lost, "COMPLETED")
