"""``serve``: deployments whose runs a script carries out itself, while it is there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import flow
from headrace.client.connection import Connection
from headrace.connect import connect
from headrace.deployments import aserve, run_deployment, serve
from headrace.errors import DeploymentError
from headrace.server import process
from headrace.settings import Settings, load

_DEADLINE_S = 30.0

SERVED = """
from headrace import flow
from headrace.deployments import run_deployment

@flow(log_prints=True)
def child(n: int = 1):
    print("child", n)
    if n < 0:
        raise ValueError("below zero")

@flow
def parent(n: int = 1):
    made = run_deployment("child/own", parameters={"n": n}, poll_interval=0.2)
    assert made.state.is_completed(), made.state

if __name__ == "__main__":
    from headrace import serve
    serve(
        child.to_deployment("own", interval=3600, tags=["served"]),
        parent.to_deployment("own"),
        limit=4,
    )
"""


@flow
def noted() -> None: ...


class Script:
    """A script that serves, as a process of its own."""

    def __init__(self, folder: Path, code: str) -> None:
        (folder / "flows.py").write_text(code, encoding="utf-8")
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "flows.py"], cwd=folder, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def until(self, text: str) -> None:
        """Wait until it has written something."""
        deadline = time.monotonic() + _DEADLINE_S
        while text not in self.output:
            assert time.monotonic() < deadline and self.process.poll() is None, self.output
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send it a signal and return how it ended."""
        self.process.send_signal(number)
        return self.process.wait(_DEADLINE_S)


@pytest.fixture
def started(home: Path, tmp_path: Path) -> Iterator[Callable[[str], Script]]:
    """Start scripts; they, and a server that they started, are gone at the end."""
    scripts: list[Script] = []

    def start(code: str) -> Script:
        scripts.append(Script(tmp_path, code))
        return scripts[-1]

    yield start
    for script in scripts:
        if script.process.poll() is None:
            script.process.kill()
            script.process.wait(_DEADLINE_S)
    process.stop(load())


def deployments(connection: Connection) -> dict[str, dict[str, Any]]:
    found = connection.post("/deployments/filter", {}, repeatable=True)
    return {each["entrypoint"].partition(":")[2]: each for each in found}


def test_runs_are_carried_out_while_it_serves(server: Settings, started: Callable[[str], Script]) -> None:
    """From another process; below a parent that waits; a failure harms nobody; at the end the schedules rest."""
    script = started(SERVED)
    script.until("Serving 2 deployments")
    done = run_deployment("parent/own", parameters={"n": 5}, timeout=_DEADLINE_S, poll_interval=0.2)
    failed = run_deployment("child/own", parameters={"n": -1}, timeout=_DEADLINE_S, poll_interval=0.2)

    assert done.state is not None and failed.state is not None
    assert (done.state.name, failed.state.name) == ("Completed", "Failed")
    with connect(server) as connection:
        found = deployments(connection)
        assert (found["child"]["paused"], found["child"]["work_pool_name"]) == (False, None)
        below = connection.post(
            "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [str(done.id)]}}}
        )
        assert [(run["parameters"], run["state_name"]) for run in below] == [({"n": 5}, "Completed")]

        assert script.stop() == 0, script.output
        assert [each["paused"] for each in deployments(connection).values()] == [True, True]
    assert "headrace deployment run child/own" in script.output


def test_a_second_serve_wakes_the_schedules(server: Settings, started: Callable[[str], Script]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        script = started(SERVED)
        script.until("Serving 2 deployments")
        with connect(server) as connection:
            assert not deployments(connection)["child"]["paused"]
        assert script.stop(number) == 0, script.output


def test_what_is_changed_in_the_file_holds_from_the_next_run(
    server: Settings, started: Callable[[str], Script], tmp_path: Path
) -> None:
    script = started(SERVED)
    script.until("Serving 2 deployments")
    assert run_deployment("child/own", timeout=_DEADLINE_S, poll_interval=0.2).state.name == "Completed"  # type: ignore[union-attr]
    (tmp_path / "flows.py").write_text(SERVED.replace("n < 0", "n >= 0"), encoding="utf-8")

    assert run_deployment("child/own", timeout=_DEADLINE_S, poll_interval=0.2).state.name == "Failed"  # type: ignore[union-attr]


def test_a_server_is_started_where_none_runs(
    home: Path, started: Callable[[str], Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SERVER_PORT", "0")
    script = started(SERVED)
    script.until("Serving 2 deployments")
    done = run_deployment("child/own", timeout=_DEADLINE_S, poll_interval=0.2)

    assert "No server ran, so one was started at http://127.0.0.1:" in script.output
    assert done.state is not None and done.state.name == "Completed"


def test_schedules_may_go_on(server: Settings, started: Callable[[str], Script]) -> None:
    script = started(SERVED.replace("limit=4,", "pause_on_shutdown=False, print_starting_message=False,"))
    deadline = time.monotonic() + _DEADLINE_S
    with connect(server) as connection:
        while len(deployments(connection)) < 2:
            assert time.monotonic() < deadline, script.output
            time.sleep(0.02)
        assert script.stop() == 0
        assert not deployments(connection)["child"]["paused"]
    assert "Serving" not in script.output


def test_async_code_serves_until_it_is_cancelled(server: Settings) -> None:
    """``flow.serve``, ``serve`` and ``aserve``, one after the other."""

    async def briefly(serving: Any) -> None:
        task = asyncio.ensure_future(serving)
        done = await asyncio.to_thread(run_deployment, "noted/own", timeout=_DEADLINE_S, poll_interval=0.2)
        assert done.state is not None and done.state.name == "Completed", done.state
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def main() -> None:
        await noted.to_deployment("own").aapply()  # type: ignore[attr-defined]  # a RunnerDeployment
        await briefly(noted.serve("own"))  # type: ignore[func-returns-value]  # in async code something to await
        await briefly(serve(noted.to_deployment("own")))  # type: ignore[func-returns-value]  # as above
        await briefly(aserve(noted.to_deployment("own"), limit=1))

    asyncio.run(main())
    with connect(server) as connection:
        assert deployments(connection)["noted"]["paused"]


def test_health_is_answered_where_it_is_asked_for(
    server: Settings, started: Callable[[str], Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    monkeypatch.setenv("HEADRACE_WORKER_WEBSERVER_PORT", "0")
    script = started(SERVED.replace("limit=4,", "webserver=True,"))
    script.until("/health")
    url = script.output.partition("Health: ")[2].split()[0]

    assert httpx.get(url, trust_env=False).json()["status"] == "ok"


def test_what_cannot_be_served_is_refused() -> None:
    with pytest.raises(DeploymentError, match="belongs to work pool 'main'"):
        serve(noted.to_deployment("own", work_pool_name="main"))
    with pytest.raises(DeploymentError, match="nothing to serve"):
        serve()
    with pytest.raises(DeploymentError, match="to_deployment"):
        serve(noted)  # type: ignore[arg-type]  # what a caller without types may give
    with pytest.raises(TypeError, match="'limti'"):
        asyncio.run(aserve(noted.to_deployment("own"), limti=1))


def test_the_script_that_serves_may_die(server: Settings, started: Callable[[str], Script]) -> None:
    """A run that goes on ends in its own state all the same."""
    slow = SERVED.replace('print("child", n)', 'import time; print("begun"); time.sleep(1.5)')
    script = started(slow)
    script.until("Serving 2 deployments")
    made = run_deployment("child/own", timeout=0)
    with connect(server) as connection:
        deadline = time.monotonic() + _DEADLINE_S
        while connection.get(f"/flow_runs/{made.id}")["state_type"] != "RUNNING":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(script.process.pid, signal.SIGKILL)
        script.process.wait(_DEADLINE_S)
        while (run := connection.get(f"/flow_runs/{made.id}"))["state_type"] == "RUNNING":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert run["state_name"] == "Completed"
