"""Where a part of the demo plays: its folder, its environment, its processes and what is on record of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from ...client import calls
from ...client.calls import Json
from ...client.connection import Connection
from ...errors import ObjectNotFound
from ...model.states import TERMINAL
from ...settings import Settings
from ..output import printable, without_controls
from .script import Script

T = TypeVar("T")

FLOWS = Path(__file__).with_name("flows")

PATIENCE_S = 60.0
"""How long anything may take before the demo says that it did not happen: far more than a slow machine needs."""

_LOOK_S = 0.05
"""Seconds between two looks at what is waited for."""


class Unearned(Exception):
    """A run is not in the state it earned; the text names the run and says what was found instead."""


class Stage:
    """What the parts share. ``folder`` is where the scripts run and leave their files."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self.settings = settings
        self.connection = connection
        self.folder = settings.home_path / "demo"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.shown: list[str] = []
        """Ids of the flow runs that the demo made, in their order."""
        self._running: list[subprocess.Popen[bytes]] = []

    def play(self, file: str, *arguments: str, **environ: str) -> Script:
        """Start one of the demo's flows as a process, its output kept in a file; ``environ`` adds settings."""
        output = (self.folder / file).with_suffix(".out")
        command = [sys.executable, str(FLOWS / file), *arguments]
        process = self.start(command, output, **environ)
        script = Script(process, output, self.settings.home_path)
        self.until(lambda: script.root() is not None or not script.is_alive(), "the flow to begin", script)
        root = script.root()
        if root is None:
            raise Unearned(f"{file} ended before its flow began. It said:\n{script.last_output()}")
        self.shown.append(root)
        return script

    def start(self, command: list[str], output: Path, **environ: str) -> subprocess.Popen[bytes]:
        """Start a process that ends with the demo at the latest."""
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(environ),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._running.append(process)
        return process

    def _environment(self, environ: dict[str, str]) -> dict[str, str]:
        # The demo shows this machine and this home folder, whatever else is configured; settings that would
        # take away what it looks at (records, logs) are set as they are by default.
        return {
            **os.environ,
            "HEADRACE_HOME": str(self.settings.home_path),
            "HEADRACE_PROFILE": self.settings.profile,
            "HEADRACE_API_URL": "",
            "HEADRACE_RECORD": "true",
            "HEADRACE_LOGGING_LEVEL": "INFO",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            **environ,
        }

    def close(self) -> None:
        """End what still runs, as after Ctrl-C."""
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait()

    def until(self, found: Callable[[], T | None], what: str, script: Script | None = None) -> T:
        """Return what ``found`` returns once it is true.

        Raises:
            Unearned: it was not within ``PATIENCE_S``; the text says what was waited for.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            value = found()
            if value:
                return value
            if time.monotonic() > deadline:
                said = f" The script said:\n{script.last_output()}" if script is not None else ""
                raise Unearned(f"Waited {PATIENCE_S:.0f} s for {what}, and it did not happen.{said}")
            time.sleep(_LOOK_S)

    def ended(self, run: str, script: Script) -> Json:
        """Wait until the end of a flow run is on record and return the run as the REST API gives it."""

        def look() -> Json | None:
            try:
                found = calls.flow_run(self.connection, run)
            except ObjectNotFound:
                return None
            return found if found.get("state_type") in TERMINAL else None

        return self.until(look, f"the end of flow run {run} to be on record", script)

    def task_runs(self, run: str) -> list[Json]:
        """Return a flow run's task runs."""
        return calls.task_runs(self.connection, {"flow_runs": {"id": {"any_": [run]}}}, limit=None)

    def messages(self, run: str, logger: str = "headrace.task_runs") -> list[str]:
        """Return the log lines on record that the tasks of a flow run wrote, oldest first."""
        found = calls.logs(self.connection, {"flow_run_id": {"any_": [run]}})
        return [line["message"] for line in found if line["name"] == logger]


def expect(run: Json, state: str, kind: str = "Flow run") -> Json:
    """Return the run's evidence when its state is of type ``state``.

    Raises:
        Unearned: it is another.
    """
    if run.get("state_type") != state:
        message = (run.get("state") or {}).get("message") or "no message"
        raise Unearned(
            f"{kind} {run['name']} ({run['id']}) earned {state.capitalize()}, but is "
            f"{run.get('state_name') or 'in no state'}: {message}"
        )
    return ((run.get("state") or {}).get("state_details") or {}).get("evidence") or {}


def require(holds: bool, otherwise: str) -> None:
    """Check what the demo says before it says so.

    Raises:
        Unearned: it does not hold.
    """
    if not holds:
        raise Unearned(otherwise)


def say(text: str = "") -> None:
    """Write lines of a part, indented below its title."""
    for line in without_controls(text).split("\n"):
        click.echo(f"   {line}".rstrip())


def state_line(run: Json, kind: str = "flow run") -> str:
    """Return ``flow run  nightly-sync (brave-otter)  Failed``; a task run has its own name only."""
    flow = run.get("flow_name") if kind == "flow run" else None
    name = f"{flow} ({run['name']})" if flow else run["name"]
    return f"{kind}  {printable(name):<36}  {run['state_name']}"
