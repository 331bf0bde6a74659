"""The field's own client, its command line and its engine work against this server, unchanged.

Each script runs in a process of its own with the real client; what it left on the server is then read
through the API.
"""

from __future__ import annotations

from typing import Any

import pytest

from .real_client import Client

# The environment may have to be made first, and the client takes seconds to import.
pytestmark = pytest.mark.timeout(600)


def states(run: dict[str, Any]) -> list[str]:
    """Return the names of a run's states, oldest first."""
    return [state["name"] for state in run["state_history"]]


def test_a_flow_with_tasks_a_subflow_and_logs(client: Client) -> None:
    """Every run is there with its states, its logs, and its place in the whole; the CLI shows it."""
    client.script(
        """
from prefect import flow, get_run_logger, tags, task

@task
def add(a, b):
    return a + b

@task(retries=1, retry_delay_seconds=0)
def flaky(tries=[]):
    tries.append(1)
    if len(tries) == 1:
        raise ValueError("first")

@flow
def child(x):
    return add(x, 1)

@flow(log_prints=True)
def whole(n: int = 3):
    get_run_logger().warning("a warning")
    print("a print")
    with tags("nightly"):
        futures = [add.submit(i, i) for i in range(n)]
    assert [future.result() for future in futures] == [0, 2, 4]
    assert child(4) == 5
    flaky()

whole()
"""
    )
    [run], [child] = client.runs("whole"), client.runs("child")

    assert states(run) == ["Pending", "Running", "Completed"]
    assert states(child) == ["Pending", "Running", "Completed"]
    assert (run["parameters"], run["run_count"]) == ({"n": 3}, 1)
    assert client.tasks("whole") == {"add": "Completed", "child": "Completed", "flaky": "Completed"}
    lines = client.http.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [run["id"]]}}}).json()
    assert {"a warning", "a print"} <= {line["message"] for line in lines}
    assert "a warning" in client.command("flow-run", "logs", run["id"])
    assert run["name"] in client.command("flow-run", "ls")
    assert run["id"] in client.command("flow-run", "inspect", run["id"])
    assert "whole" in client.command("flow", "ls")
    retried = next(
        task
        for task in client.http.post("/task_runs/filter", json={}).json()
        if task["name"].startswith("flaky")
    )
    told = client.http.get(f"/task_runs/{retried['id']}").json()
    assert states(told) == ["Pending", "Running", "Retrying", "Completed"]


def test_flows_that_fail_and_that_are_tried_again(client: Client) -> None:
    """The server answers a failure with a retry while the budget lasts; then Failed stands."""
    client.script(
        """
from prefect import flow

@flow(retries=1, retry_delay_seconds=1)
def recovers(tries=[]):
    tries.append(1)
    if len(tries) == 1:
        raise RuntimeError("once")

@flow(retries=1)
def fails():
    raise KeyError("boom")

recovers()
try:
    fails()
except KeyError:
    pass
"""
    )
    [good], [bad] = client.runs("recovers"), client.runs("fails")

    assert states(good) == ["Pending", "Running", "AwaitingRetry", "Running", "Completed"]
    assert states(bad) == ["Pending", "Running", "AwaitingRetry", "Running", "Failed"]
    assert (good["run_count"], bad["run_count"]) == (2, 2)
    assert "boom" in bad["state"]["message"]


def test_a_pause_waits_for_input_and_goes_on(client: Client) -> None:
    """In the process, with a form; without what the form asks for it stays paused."""
    out = client.script(
        """
import threading, time
from prefect import flow, pause_flow_run
from prefect.client.orchestration import get_client
from prefect.input import RunInput

class Person(RunInput):
    name: str

@flow
def asks():
    return pause_flow_run(wait_for_input=Person, timeout=60, poll_interval=1).name

def answer():
    client = get_client(sync_client=True)
    while True:
        for run in client.read_flow_runs():
            if run.state_name == "Paused":
                refused = client._client.post(f"/flow_runs/{run.id}/resume", json={"run_input": {}})
                print(refused.json()["status"])
                print(client.resume_flow_run(run.id, run_input={"name": "Ada"}).status.value)
                return
        time.sleep(0.2)

threading.Thread(target=answer).start()
print(asks())
"""
    )
    [run] = client.runs("asks")

    assert out.split() == ["REJECT", "ACCEPT", "Ada"]
    assert states(run) == ["Pending", "Running", "Paused", "Running", "Completed"]
    assert run["run_count"] == 1


def test_cached_results_mapped_tasks_and_a_task_left_for_later(client: Client) -> None:
    """Results are told of by the client and kept as they are; a background task waits for somebody."""
    out = client.script(
        """
from prefect import flow, task
from prefect.cache_policies import INPUTS

@task(cache_policy=INPUTS, persist_result=True)
def cached(x):
    return x

@task
def breaks():
    raise ValueError("no")

@task
def double(x):
    return 2 * x

@flow(persist_result=True)
def several():
    assert cached("k") == cached("k")
    assert breaks(return_state=True).is_failed()
    return double.map([1, 2, 3]).result()

print(several())
print(double.delay(4).task_run_id)
"""
    )
    [run] = client.runs("several")
    body = {"flow_runs": {"id": {"any_": [run["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
    names = [task["state_name"] for task in client.http.post("/task_runs/filter", json=body).json()]
    later = client.http.get(f"/task_runs/{out.split()[-1]}").json()

    assert sorted(names) == ["Cached", "Completed", "Completed", "Completed", "Completed", "Failed"]
    assert run["state"]["data"]["storage_key"]
    assert (later["state_name"], later["flow_run_id"]) == ("Scheduled", None)


def test_the_command_line_cancels_deletes_and_lists_by_state(client: Client) -> None:
    """A run that never began is cancelled at once."""
    flow = client.http.post("/flows/", json={"name": "later"}).json()["id"]
    planned = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}
    run = client.http.post("/flow_runs/", json={"flow_id": flow, "state": planned, "name": "far-off"}).json()[
        "id"
    ]
    assert "far-off" in client.command("flow-run", "ls", "--state", "Scheduled")
    client.command("flow-run", "cancel", run)
    assert client.http.get(f"/flow_runs/{run}").json()["state_name"] == "Cancelled"
    client.command("--no-prompt", "flow-run", "delete", run)

    assert client.http.get(f"/flow_runs/{run}").status_code == 404
