"""What every test of the engine gets: runs recorded in a private home, with no process started."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.journal.reader import iterate
from headrace.journal.spool import Spool
from headrace.model.runs import Journal, Run, fold
from headrace.testing import Harness, headrace_test_harness


@pytest.fixture(autouse=True)
def ran() -> Iterator[Harness]:
    """Read back what ran in this test."""
    with headrace_test_harness(logging_console=False) as harness:
        yield harness


def steps(run: Run) -> list[str]:
    """Return the names of a run's states, in order."""
    return [row.name for row in run.history]


def evidence(run: Run) -> dict[str, Any]:
    """Return the exception that a run's last state shows."""
    assert run.state is not None
    assert run.state.details is not None
    found: dict[str, Any] = run.state.details["evidence"]["exception"]
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "The condition did not come true in time."
        time.sleep(0.002)  # between two looks, not for luck


class Script:
    """A user's script in a process of its own, without a companion, and the journals that it left."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home

    def run(self, code: str, *args: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run code to its end; a failure shows its output unless ``check`` is off."""
        path = self.folder / "script.py"
        path.write_text(textwrap.dedent(code))
        starter = (
            "import runpy, sys, headrace.engine.companion as companion\n"
            "companion.start = lambda folder, settings: None\n"
            "sys.argv = sys.argv[1:]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", starter, str(path), *args],
            capture_output=True,
            text=True,
            timeout=40,
            cwd=self.folder,
            env={**os.environ, "HEADRACE_HOME": str(self.home), **env},
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def journals(self) -> list[Journal]:
        """Return each process's journal, folded, oldest first."""
        return [fold(Journal(f.id), iterate(f.journal)) for f in Spool(self.home).folders()]

    def runs(self) -> dict[str, Run]:
        """Return the runs of the only journal, by name."""
        (journal,) = self.journals()
        assert journal.torn == 0
        return {run.entry.name: run for run in journal.runs.values() if run.entry is not None}


@pytest.fixture
def script(tmp_path: Path, home: Path) -> Script:
    """Run user code in a process of its own."""
    return Script(tmp_path, home)
