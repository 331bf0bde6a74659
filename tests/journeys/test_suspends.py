"""Runs of a deployment that end their process, wait without one, and are started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.journal.spool import Folder, Spool
from headrace.model.orders import Job, Order, Started, decode_claims, decode_started
from headrace.template import LARGEST
from tests.verdicts.house import House, Process, clean_environment, until
from tests.verdicts.server import Server

FLOW = """
    import os
    import time
    from headrace import flow, suspend_flow_run, task
    from headrace.input import RunInput

    class Person(RunInput):
        name: str

    @task
    def step(number):
        return number

    @flow(log_prints=True)
    def approve():
        step(1)
        print("asks")
        try:
            person = suspend_flow_run(wait_for_input=Person, key="who")
        except Exception:
            print("swallowed")
        finally:
            print("cleans up")
        print("told", person.name)

    @flow(log_prints=True)
    def goes_on():
        if os.path.exists("resumed"):
            return
        while True:
            step(1)
            time.sleep(0.01)
"""


class OneWorker:
    """As much of a worker as it takes to start runs one by one: it asks for one, and hands it to a template process."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._id = str(uuid.uuid4())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._template = subprocess.Popen(
                [sys.executable, "-m", "headrace.template", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=clean_environment(house.home, HEADRACE_API_URL=house.url),
                cwd=house.folder,
                start_new_session=True,
            )
        self._control = ours
        self._control.settimeout(30)
        self._started()
        self._begun: list[Started] = []

    def _started(self) -> Started:
        return decode_started(self._control.recv(LARGEST))

    def start_one(self) -> Started:
        """Wait for a due run and start it."""
        body = {"worker_id": self._id, "worker_name": "one", "limit": 1, "wait": 20}
        answer = self._house.client.post("/work_pools/here/claim", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        (claim,) = decode_claims(answer.content).claims
        folder: Folder = Spool(self._house.home).create(claim.journal)
        folder.write_order(Order(claim, Job(), "one"))
        self._control.send(os.fsencode(folder.path))
        begun = self._started()
        assert begun.error == ""
        self._begun.append(begun)
        return begun

    def close(self) -> None:
        """End the template, and whatever it started that still lives."""
        self._control.close()
        self._template.wait(10)
        for begun in self._begun:
            for pid in (begun.supervisor, begun.run):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place(shared_server: Server, tmp_path: Path) -> Iterator[House]:
    """A house before a real server, with the flows' code."""
    (tmp_path / "flows.py").write_text(textwrap.dedent(FLOW))
    house = House(tmp_path, shared_server.url)
    yield house
    house.close()


@pytest.fixture
def worker(place: House) -> Iterator[OneWorker]:
    """Somebody who starts runs."""
    pool = place.client.post("/work_pools/", json={"name": "here", "type": "process"})
    assert pool.status_code in (201, 409)
    made = OneWorker(place)
    yield made
    made.close()


def run_of(place: House, flow: str) -> str:
    """Deploy a flow and make a run of it; return the run's id."""
    made = place.client.post("/flows/", json={"name": flow.replace("_", "-")}).json()
    deployment = place.client.post(
        "/deployments/",
        json={
            "name": f"d-{uuid.uuid4()}",
            "flow_id": made["id"],
            "work_pool_name": "here",
            "entrypoint": f"flows.py:{flow}",
            "path": str(place.folder),
        },
    ).json()
    run = place.client.post(f"/deployments/{deployment['id']}/create_flow_run", json={})
    assert run.status_code == 201, run.text
    return str(run.json()["id"])


def until_named(place: House, run: str, name: str) -> dict[str, Any]:
    """Wait until a run is in a state of this name."""
    return place.until_state(run, lambda found: found["state_name"] == name, f"the run to be {name}")


def until_gone(pid: int) -> None:
    """Wait for the end of a process."""
    process = Process(pid)
    until(lambda: not process.is_alive(), f"the end of process {pid}")


def test_a_run_suspends_itself_and_goes_on_in_another_process(place: House, worker: OneWorker) -> None:
    """Its process and its slot are free meanwhile; the next one knows the answer; it counts as begun once."""
    run = run_of(place, "approve")
    first = worker.start_one()
    told = until_named(place, run, "Suspended")
    until_gone(first.run)
    assert told["state"]["state_details"]["pause_key"] == "who"
    assert [task["state_name"] for task in place.tasks(run)] == ["Completed"]
    refused = place.client.post(f"/flow_runs/{run}/resume", json={"run_input": {}})
    assert (refused.json()["status"], "name" in refused.json()["details"]["reason"]) == ("REJECT", True)
    resumed = place.client.post(f"/flow_runs/{run}/resume", json={"run_input": {"name": "Ada"}})
    assert resumed.json()["state"]["name"] == "Resuming"
    second = worker.start_one()
    told = until_named(place, run, "Completed")

    assert second.run != first.run
    assert told["run_count"] == 1
    assert {"attempt": 2, "name": "Completed"}.items() <= told["state_history"][-1].items()
    said = [line for line in place.logs(run) if line in ("asks", "cleans up", "swallowed", "told Ada")]
    assert said == ["asks", "cleans up", "asks", "cleans up", "told Ada"]


def test_others_suspend_a_run_at_its_next_task(place: House, worker: OneWorker) -> None:
    """By a script, as by the command line; resumed, it begins again."""
    run = run_of(place, "goes_on")
    first = worker.start_one()
    until_named(place, run, "Running")
    other = place.start(f'import headrace; headrace.suspend_flow_run(flow_run_id="{run}", timeout=600)')
    assert other.wait() == 0, other.output()
    told = until_named(place, run, "Suspended")
    until_gone(first.run)
    assert "headrace" in told["state"]["message"]
    assert told["state"]["state_details"]["pause_timeout"] is not None
    (place.folder / "resumed").touch()
    place.client.post(f"/flow_runs/{run}/resume")
    worker.start_one()

    assert until_named(place, run, "Completed")["run_count"] == 1
    assert {task["state_type"] for task in place.tasks(run)} <= {"COMPLETED", "CANCELLED"}


def test_a_suspended_run_is_cancelled_at_once(place: House, worker: OneWorker) -> None:
    """Nobody has to hear of it."""
    run = run_of(place, "approve")
    first = worker.start_one()
    until_named(place, run, "Suspended")
    until_gone(first.run)
    answer = place.client.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLING"}})

    assert msgspec.json.decode(answer.content)["state"]["type"] == "CANCELLED"
    assert until_named(place, run, "Cancelled")["state_history"][-1]["rank"] == "proposal"
