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
from prefect import flow, get_run_logger, runtime, task

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
    Path(f"pid-of-{runtime.flow_run.id}").write_text(str(os.getpid()))
    time.sleep(600)
"""

DEPLOY = """
from prefect import flow

if __name__ == "__main__":
    for name, pool, limit in (
        ("good", "single", 1), ("bad", "single", None), ("good", "machines", 1), ("once", "machines", None),
        ("endless", "machines", None),
    ):
        flow.from_source(source=".", entrypoint=f"flows.py:{name}").deploy(
            pool, work_pool_name=pool, concurrency_limit=limit, print_next_steps=False
        )
"""


@pytest.fixture(scope="module")
def deployed(client: Client) -> Client:
    """Flows in two pools of type process, deployed by the field's own client."""
    for pool in ("single", "machines"):
        client.http.post("/work_pools/", json={"name": pool, "type": "process"})
    client.write("flows.py", FLOWS)
    client.script(DEPLOY)
    return client


@pytest.fixture(scope="module")
def machines(deployed: Client) -> Iterator[Path]:
    """A worker of the field's own for the pool ``machines``; gives the folder in which its runs are carried out."""
    command = ("prefect", "worker", "start", "-p", "machines", "--type", "process", "--name", "theirs")
    with deployed.background(*command, log="worker.log") as log:
        yield log.parent


def plan(client: Client, flow: str, deployment: str, **body: Any) -> str:
    """Plan a run of a flow's deployment for now; return its id."""
    id = client.http.get(f"/deployments/name/{flow}/{deployment}").json()["id"]
    return str(client.http.post(f"/deployments/{id}/create_flow_run", json=body).json()["id"])


def names(client: Client, id: str) -> list[str]:
    """Return the names of a run's states, oldest first."""
    return [state["name"] for state in client.http.get(f"/flow_runs/{id}").json()["state_history"]]


def test_a_worker_of_theirs_runs_what_is_due(deployed: Client) -> None:
    """Completed, Failed (never Crashed, whatever the process's exit code), and no more at once than the limit allows."""
    first, bad = plan(deployed, "good", "single", parameters={"n": 4}), plan(deployed, "bad", "single")
    second = plan(deployed, "good", "single")
    deployed.command("worker", "start", "-p", "single", "--type", "process", "--run-once")
    run = deployed.http.get(f"/flow_runs/{first}").json()

    assert names(deployed, first) == ["Scheduled", "Pending", "Submitting", "Running", "Completed"]
    assert names(deployed, bad) == ["Scheduled", "Pending", "Submitting", "Running", "Failed"]
    assert "boom" in deployed.http.get(f"/flow_runs/{bad}").json()["state"]["message"]
    assert (run["run_count"], run["parameters"], run["infrastructure_pid"] is not None) == (1, {"n": 4}, True)
    assert deployed.tasks("good")["add"] == "Completed"
    assert deployed.http.get("/work_pools/single").json()["status"] == "READY"
    assert names(deployed, second) == ["Scheduled"]


@pytest.mark.usefixtures("machines")
def test_a_run_is_planned_and_watched_by_their_command(deployed: Client) -> None:
    """``deployment run --watch`` ends when the run does, and well."""
    deployed.command("deployment", "run", "good/machines", "--watch", "--flow-run-name", "watched")
    body = {"flow_runs": {"name": {"any_": ["watched"]}}}
    [run] = deployed.http.post("/flow_runs/filter", json=body).json()

    assert run["state_name"] == "Completed"
    workers = deployed.http.post("/work_pools/machines/workers/filter", json={}).json()
    assert [(each["name"], each["status"]) for each in workers] == [("theirs", "ONLINE")]


@pytest.mark.usefixtures("machines")
def test_a_running_run_is_cancelled_by_their_command(deployed: Client) -> None:
    """``flow-run cancel``: its worker hears of it, and ends the process; it is Cancelled, not Crashed."""
    run = plan(deployed, "endless", "machines")
    deployed.wait_for(run, "Running")
    deployed.command("flow-run", "cancel", run)
    told = deployed.wait_for(run, "Cancelled", "Crashed", "Failed", "Completed")

    assert [state["name"] for state in told["state_history"]][-2:] == ["Cancelling", "Cancelled"]


def test_a_run_whose_process_is_killed_is_crashed(deployed: Client, machines: Path) -> None:
    """As its worker reports it: nothing else has ended the run."""
    run = plan(deployed, "endless", "machines")
    pid = machines / f"pid-of-{run}"
    deployed.wait_until(lambda: pid.exists() and pid.read_text() != "")
    os.kill(int(pid.read_text()), signal.SIGKILL)
    told = deployed.wait_for(run, "Crashed", "Failed", "Cancelled", "Completed")

    assert told["state_name"] == "Crashed"
    assert "SIGKILL" in told["state"]["message"]


@pytest.mark.usefixtures("machines")
def test_a_run_that_failed_is_tried_again_by_their_command(deployed: Client) -> None:
    """``flow-run retry``: a new attempt of the same run."""
    run = plan(deployed, "once", "machines")
    deployed.wait_for(run, "Failed")
    deployed.command("flow-run", "retry", run)
    told = deployed.wait_for(run, "Completed")
    begun = [state["attempt"] for state in told["state_history"] if state["name"] == "Running"]

    assert (begun, told["run_count"]) == ([1, 2], 2)


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
        run = plan(client, "served", "d", parameters={"word": "hello"})
        done = client.wait_for(run, "Completed", "Failed", "Crashed")
    deployment = client.http.get("/deployments/name/served/d").json()

    assert done["state_name"] == "Completed"
    assert deployment["last_polled"] is not None
    assert deployment["paused"]
