"""The field's own worker and runner carry out runs of this server: each ends in the state it earned."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .real_client import Client

# The environment may have to be made first, and each process of the client takes seconds to import it.
pytestmark = pytest.mark.timeout(600)

FLOWS = """
import os, time
from pathlib import Path
from prefect import flow, get_run_logger, task

@task
def add(a, b):
    return a + b

@flow
def good(n: int = 1):
    get_run_logger().info("n is %s", n)
    return add(n, 1)

@flow
def bad():
    raise ValueError("boom")

@flow
def once():
    if not Path("tried").exists():
        Path("tried").touch()
        raise RuntimeError("the first try")

@flow
def endless():
    Path("pid").write_text(str(os.getpid()))
    time.sleep(600)
"""

DEPLOY = """
from prefect import flow

if __name__ == "__main__":
    for name, limit in (("good", 1), ("bad", None), ("once", None), ("endless", None)):
        flow.from_source(source=".", entrypoint=f"flows.py:{name}").deploy(
            "d", work_pool_name="machines", concurrency_limit=limit, print_next_steps=False
        )
"""


@pytest.fixture(scope="module")
def deployed(client: Client) -> Client:
    """Flows in a pool of type process, deployed by the field's own client."""
    client.http.post("/work_pools/", json={"name": "machines", "type": "process"})
    client.write("flows.py", FLOWS)
    client.script(DEPLOY)
    return client


@pytest.fixture
def worker(deployed: Client) -> Iterator[Path]:
    """A worker of the field's own that polls every second; gives the file of its output."""
    command = ("prefect", "worker", "start", "-p", "machines", "--type", "process", "--name", "theirs")
    with deployed.background(*command, log="worker.log") as log:
        yield log


def plan(client: Client, flow: str, **body: Any) -> str:
    """Plan a run of a flow's deployment for now; return its id."""
    deployment = client.http.get(f"/deployments/name/{flow}/d").json()["id"]
    return str(client.http.post(f"/deployments/{deployment}/create_flow_run", json=body).json()["id"])


def names(client: Client, id: str) -> list[str]:
    """Return the names of a run's states, oldest first."""
    return [state["name"] for state in client.http.get(f"/flow_runs/{id}").json()["state_history"]]


def test_a_worker_of_theirs_runs_what_is_due(deployed: Client) -> None:
    """Once: Completed, Failed (never Crashed, whatever the process's exit code), and no more than the limit allows."""
    first, bad = plan(deployed, "good", parameters={"n": 4}), plan(deployed, "bad")
    second = plan(deployed, "good")
    deployed.command("worker", "start", "-p", "machines", "--type", "process", "--run-once")
    run = deployed.http.get(f"/flow_runs/{first}").json()
    began = [state for state in run["state_history"] if state["name"] == "Running"]

    assert names(deployed, first) == ["Scheduled", "Pending", "Submitting", "Running", "Completed"]
    assert names(deployed, bad) == ["Scheduled", "Pending", "Submitting", "Running", "Failed"]
    assert "boom" in deployed.http.get(f"/flow_runs/{bad}").json()["state"]["message"]
    assert (run["run_count"], run["parameters"], run["infrastructure_pid"] is not None) == (1, {"n": 4}, True)
    assert len(began) == 1
    assert deployed.tasks("good") == {"add": "Completed"}
    assert deployed.http.get("/work_pools/machines").json()["status"] == "READY"
    assert names(deployed, second)[-1] in ("Scheduled", "AwaitingConcurrencySlot")
    deployed.http.delete(f"/flow_runs/{second}")


def test_runs_are_watched_cancelled_killed_and_tried_again(deployed: Client, worker: Path) -> None:
    """By the field's own commands, with its own worker; a run whose process is killed is Crashed."""
    out = deployed.command("deployment", "run", "good/d", "--watch", "--watch-timeout", "60")
    assert "Completed" in out or "finished successfully" in out, out

    cancelled = plan(deployed, "endless")
    deployed.wait_for(cancelled, "Running")
    deployed.command("flow-run", "cancel", cancelled)
    assert deployed.wait_for(cancelled, "Cancelled", "Crashed")["state_name"] == "Cancelled"

    killed = plan(deployed, "endless")
    deployed.wait_for(killed, "Running")
    os.kill(int((worker.parent / "pid").read_text()), signal.SIGKILL)
    assert deployed.wait_for(killed, "Crashed", "Failed")["state_name"] == "Crashed"

    again = plan(deployed, "once")
    deployed.wait_for(again, "Failed")
    deployed.command("flow-run", "retry", again)
    told = deployed.wait_for(again, "Completed")
    assert [state["attempt"] for state in told["state_history"] if state["name"] == "Running"] == [1, 2]


def test_a_script_of_theirs_serves_its_flow(client: Client) -> None:
    """``flow.serve``: polled, run in a process, and paused when the script ends."""
    client.write(
        "serving.py",
        """
from prefect import flow

@flow
def served(word: str = "x"):
    print(word)
    return word

if __name__ == "__main__":
    served.serve("d", limit=2)
""",
    )
    with client.background("python", "serving.py", log="serving.log"):
        client.wait_until(lambda: client.http.get("/deployments/name/served/d").status_code == 200)
        run = plan(client, "served", parameters={"word": "hello"})
        done = client.wait_for(run, "Completed", "Failed", "Crashed")
    deployment = client.http.get("/deployments/name/served/d").json()

    assert done["state_name"] == "Completed"
    assert deployment["last_polled"] is not None
    assert deployment["paused"]
