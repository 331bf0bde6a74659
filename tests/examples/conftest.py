"""Examples and pages are run as their readers run them: commands in a folder of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.client import calls
from headrace.client.calls import Json
from headrace.connect import connect
from headrace.model.states import TERMINAL
from headrace.settings import load

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

_DEADLINE_S = 30.0
"""How long a run may take to be on record after its script has ended, on a busy machine."""


class Reader:
    """Somebody who types commands in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # What a terminal's profile would give: the environment in which Headrace is installed comes first.
        self.environ = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "NO_PROXY": "127.0.0.1",
        }

    def types(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; its standard error comes in its output, as at a terminal."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def stops_everything(self) -> None:
        """End the workers and scripts whose pids the folder holds in ``*.pid``, and the server."""
        for file in self.folder.glob("*.pid"):
            pid = int(file.read_text(encoding="utf-8"))
            with contextlib.suppress(OSError):  # it has ended already
                if b"headrace" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        self.types("headrace", "server", "stop")


def on_record(noun: str) -> list[Json]:
    """Return all flow runs or task runs (``noun``) of the test's home folder, once each has ended."""
    list_runs = {"flow-run": calls.flow_runs, "task-run": calls.task_runs}[noun]
    connection = connect(load())
    try:
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            runs = list_runs(connection, {}, limit=None)
            if runs and all(run["state_type"] in TERMINAL for run in runs):
                return runs
            assert time.monotonic() < deadline, f"not on record after {_DEADLINE_S:g} s: {runs}"
            time.sleep(0.05)
    finally:
        connection.close()


@pytest.fixture
def reader(tmp_path: Path, home: Path) -> Iterator[Reader]:
    """A reader with an empty folder and a home folder of their own, who ends what a page has them start."""
    folder = tmp_path / "work"
    folder.mkdir()
    made = Reader(folder)
    yield made
    made.stops_everything()
