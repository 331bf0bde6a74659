"""The field's own client, run in processes of its own against a server of ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
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
        pytest.skip(f"THE REAL CLIENT WAS NOT TESTED: it cannot be installed here. {error}")


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
