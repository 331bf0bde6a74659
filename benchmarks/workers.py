"""A real server with a real worker, and a deployment of each flow that a measurement needs."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from .client import Client
from .servers import Server, serving
from .side import Side

POOL = "measured"
_LOOK_S = 0.005
"""How finely things are waited for."""

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

_CODE = '''
import os
import time
from pathlib import Path

from {package} import flow


@flow
def trivial():
    return 42


@flow
def waits(told: str):
    """Tell the pid, then do nothing until somebody cancels it."""
    draft = Path(told + ".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(told)
    while True:
        time.sleep(0.05)
'''


class Work(NamedTuple):
    """What runs, and how to ask it."""

    ask: Client
    worker: subprocess.Popen[bytes]
    code: Path
    """Where the flows lie."""

    def deploy(self, flow: str, name: str = "measured", **more: Any) -> str:
        """Deploy a flow to the pool; return the deployment's id."""
        id = self.ask("POST", "/flows/", {"name": flow})["id"]
        place = {"work_pool_name": POOL, "entrypoint": f"flows.py:{flow}", "path": str(self.code)}
        return str(self.ask("POST", "/deployments/", {"name": name, "flow_id": id, **place, **more})["id"])

    def create(self, deployment: str, **parameters: Any) -> str:
        """Create a run of a deployment, to begin now; return its id."""
        body = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
        return str(self.ask("POST", f"/deployments/{deployment}/create_flow_run", body)["id"])

    def wait_for(self, run: str, *states: str, longest_s: float = 120.0) -> float:
        """Ask again and again until a run is in one of these states; return when that was (``time.time()``).

        Raises:
            RuntimeError: it has ended in another one.
            TimeoutError: it did not come to that.
        """
        until = time.monotonic() + longest_s
        while True:
            found = self.ask("GET", f"/flow_runs/{run}")
            if found["state_type"] in states:
                return time.time()
            if found["state_type"] in ENDED:
                raise RuntimeError(f"A run ended as {found['state']}, not as {states}.")
            if time.monotonic() > until:
                raise TimeoutError(
                    f"A run was to be {states}, and is {found['state']} after {longest_s:g} s."
                )
            time.sleep(_LOOK_S)

    def seconds_to_running(self, run: str) -> float:
        """Return the time from the making of a run to its beginning, by the times of its states."""
        states = self.ask("GET", f"/flow_run_states/?flow_run_id={run}")
        began = min(_moment(state["timestamp"]) for state in states if state["type"] == "RUNNING")
        return began - _moment(self.ask("GET", f"/flow_runs/{run}")["created"])


@contextmanager
def working(side: Side, home: Path, server: list[str] | None = None) -> Iterator[Work]:
    """Start a server (``server`` is a command of one's own) and a worker, and stop both afterwards."""
    code = home / "code"
    code.mkdir()
    (code / "flows.py").write_text(_CODE.format(package=side.package), encoding="utf-8")
    with (
        serving(side, home, server) as started,
        _worker(side, home, started, code) as process,
        closing(Client(started.port)) as ask,
    ):
        _wait_until_ready(ask, process)
        yield Work(ask, process, code)


@contextmanager
def _worker(side: Side, home: Path, server: Server, code: Path) -> Iterator[subprocess.Popen[bytes]]:
    environ = side.environment(home)
    command = [side.python, "-m", side.package, "worker", "start", "--pool", POOL, "--name", "measured"]
    if side.is_peer:  # ours finds the server of its home, and needs no such word
        environ["PREFECT_API_URL"] = server.api
        command += ["--type", "process"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            cwd=code, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        except (RuntimeError, TimeoutError) as error:
            output.seek(0)
            told = output.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{error}\nThe worker wrote:\n{told}") from error
        finally:
            _end(process)


def _wait_until_ready(ask: Client, worker: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while worker.poll() is None and time.monotonic() < until:
        try:
            if ask("GET", f"/work_pools/{POOL}")["status"] == "READY":
                return
        except RuntimeError:  # the pool is not there yet
            pass
        time.sleep(_LOOK_S)
    raise RuntimeError("The worker did not come up.")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
