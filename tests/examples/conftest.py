"""Examples and pages are run as their readers run them: commands in a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

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

    def lists(self, noun: str) -> list[dict[str, Any]]:
        """Return all flow runs or task runs (``noun``) once each has ended, by the command line."""
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            done = subprocess.run(
                ["headrace", noun, "ls", "-o", "json", "--limit", "200"],
                cwd=self.folder,
                env=self.environ,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            runs: list[dict[str, Any]] = json.loads(done.stdout)
            if runs and all(
                run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") for run in runs
            ):
                return runs
            assert time.monotonic() < deadline, f"not on record after {_DEADLINE_S} s: {runs}"


@pytest.fixture
def reader(tmp_path: Path, home: Path) -> Reader:
    """A reader with an empty folder and a home folder of their own."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Reader(folder)
