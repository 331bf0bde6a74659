"""The field's own client, run in processes of its own against a server of ours."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks import peer
from headrace.server import process
from headrace.settings import load


@pytest.fixture(scope="module")
def interpreter() -> Path:
    """A Python that has the real client: ``HEADRACE_TEST_PREFECT_PYTHON``, or ``.venv-prefect``, made once."""
    named = os.environ.get("HEADRACE_TEST_PREFECT_PYTHON")
    try:
        return Path(named) if named else peer.python()
    except peer.PeerMissing as error:
        pytest.skip(f"NOT TESTED WITH THE REAL CLIENT: it cannot be installed here. {error}")


class Client:
    """Runs scripts and commands of the real client against a server of ours."""

    def __init__(self, interpreter: Path, url: str, home: Path) -> None:
        self.interpreter = interpreter
        self.http = httpx.Client(base_url=url)
        self._environ = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("PYTHON", "PREFECT_"))
            },
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(home),
            "DO_NOT_TRACK": "1",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        self._home = home

    def script(self, code: str) -> str:
        """Run a script; return what it printed. It has to end well."""
        path = self._home / "flow.py"
        path.write_text(code)
        return self._run([str(self.interpreter), str(path)])

    def command(self, *words: str) -> str:
        """Run a command of the client's command line."""
        return self._run([str(self.interpreter.parent / "prefect"), *words])

    @contextlib.contextmanager
    def background(self, *command: str, log: str) -> Iterator[Path]:
        """Run a script or command of the client's environment until the end of the block; give the file of its output.

        Its whole process group is told to end, as by Ctrl-C at a terminal.
        """
        path = self._home / log
        program = str(self.interpreter.parent / command[0])
        with (
            path.open("w") as out,
            subprocess.Popen(
                [program, *command[1:]],
                env={**self._environ, **_EAGER},
                cwd=self._home,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as started,
        ):
            try:
                yield path
            finally:
                _end(started)

    def write(self, name: str, code: str) -> None:
        """Write a file into the folder in which scripts and commands run."""
        (self._home / name).write_text(code)

    def wait_for(self, id: str, *states: str) -> dict[str, Any]:
        """Return a flow run once it is in a state of one of these names."""
        self.wait_until(lambda: self._run_of(id)["state_name"] in states)
        return self._run_of(id)

    def _run_of(self, id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/flow_runs/{id}").json())

    def wait_until(self, condition: Callable[[], bool], within_s: float = 60) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {within_s} s"
            time.sleep(0.2)

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, env=self._environ, cwd=self._home, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """Return the runs of a flow with their history."""
        body = {"flows": {"name": {"any_": [flow]}}}
        found = self.http.post("/flow_runs/filter", json=body).json()
        return [self.http.get(f"/flow_runs/{run['id']}").json() for run in found]

    def tasks(self, flow: str) -> dict[str, str]:
        """Return ``{name of the task: name of its state}`` of a flow's runs."""
        body = {"flows": {"name": {"any_": [flow]}}}
        found = self.http.post("/task_runs/filter", json=body).json()
        return {run["name"].rsplit("-", 1)[0]: run["state_name"] for run in found}


_EAGER = {"PYTHONUNBUFFERED": "1", "PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
"""So that what runs in the background asks for work every second."""


def _end(started: subprocess.Popen[bytes]) -> None:
    for number, patience_s in ((signal.SIGINT, 20), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(patience_s)
            return


@pytest.fixture(scope="module")
def client(interpreter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server of ours, and the real client pointed at it."""
    home = tmp_path_factory.mktemp("real")
    settings = load({"HEADRACE_HOME": str(home / "server")}).replace(server_port=0)
    folder = home / "client"
    folder.mkdir()
    client = Client(interpreter, process.start_in_background(settings)["url"], folder)
    with client.http:
        yield client
    process.stop(settings)
