"""Limits under workers: a slot ends with its attempt, however that ends, and "at most 4 at once" holds for any number of workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .crew import POOL, Crew, at_work
from .house import evidence_of, state_of, until
from .test_worker_life_claims import most_at_once

# Servers and workers of their own, on machines that do other things too.
pytestmark = pytest.mark.timeout(180)

ENDS = """
    import ctypes
    import os
    import sys
    import time
    from headrace import flow, suspend_flow_run

    @flow(timeout_seconds=0.5)
    def times_out():
        time.sleep(60)

    @flow
    def suspends():
        suspend_flow_run()
        print("went on", flush=True)

    @flow
    def waits():
        print("begun", flush=True)
        time.sleep(600)

    @flow
    def main(end: str):
        if end == "raises":
            raise ValueError("no")
        if end == "exits":
            sys.exit(1)
        if end == "vanishes":
            os._exit(0)
        if end == "killed":
            os.kill(os.getpid(), 9)
        if end == "faults":
            ctypes.string_at(0)
"""

TIMED = """
    import os
    import time
    from pathlib import Path
    from headrace import flow

    @flow
    def main(folder: str, number: int):
        began = time.monotonic()
        time.sleep(0.15)
        Path(folder, f"{number}-{os.getpid()}").write_text(f"{began} {time.monotonic()}")
"""


@pytest.fixture
def narrow(tmp_path: Path, new_database_url: str | None) -> Iterator[Crew]:
    """A server and a worker whose pool's only queue lets one run live."""
    with at_work(tmp_path / "crew", database_url=new_database_url) as crew:
        limit_queue(crew, 1)
        yield crew


def limit_queue(crew: Crew, limit: int) -> None:
    """Let at most so many runs of the pool's default queue live."""
    answer = crew.client.patch(f"/work_queues/{queue_of(crew)}", json={"concurrency_limit": limit})
    assert answer.status_code == 204, answer.text


def queue_of(crew: Crew) -> str:
    """Return the id of the pool's default queue."""
    pool = crew.get(f"/work_pools/{POOL}")
    assert pool is not None
    id: str = pool["default_queue_id"]
    return id


def slots_held(crew: Crew) -> int:
    """Return how many slots of the queue are held."""
    held: int = crew.post(f"/work_queues/{queue_of(crew)}/concurrency_status", {})["active_slots"]
    return held


@pytest.mark.timeout(240)
def test_a_slot_is_free_after_each_kind_of_end(narrow: Crew) -> None:
    """With one slot, each run begins once the one before it has ended, in whatever way; at the end none is held."""
    crew = narrow
    ends = {
        "returns": "COMPLETED",
        "raises": "FAILED",
        "exits": "FAILED",
        "vanishes": "CRASHED",
        "killed": "CRASHED",
        "faults": "CRASHED",
    }
    deployment, late = crew.deploy(ENDS), crew.deploy(ENDS, "times_out", grace_seconds=1)
    runs = {end: crew.run(deployment, end=end) for end in ends}
    timed_out, missing = crew.run(late), crew.run(crew.deploy(ENDS, "is_not_there"))
    unstartable = crew.run(crew.deploy(ENDS, command="no-such-program-anywhere"))
    waits = crew.deploy(ENDS, "waits", grace_seconds=1)
    asked_to_end = crew.run(waits)
    seen = {end: run.until(lambda one: one["end_time"], "its end")["state_type"] for end, run in runs.items()}
    records = [one.until(lambda run: run["end_time"], "its end") for one in (timed_out, missing, unstartable)]
    asked_to_end.until_said("begun")
    assert slots_held(crew) == 1
    crew.headrace("flow-run", "cancel", asked_to_end.id)
    cancelled = asked_to_end.until(lambda one: one["end_time"], "its end")
    last = crew.run(deployment, end="returns").end(within=1.0)

    assert seen == ends
    assert [state_of(record) for record in records] == [
        ("FAILED", "TimedOut"), ("FAILED", "LoadError"), ("FAILED", "LoadError"),
    ]  # fmt: skip
    assert state_of(cancelled) == ("CANCELLED", "Cancelled")
    assert state_of(last) == ("COMPLETED", "Completed")
    assert slots_held(crew) == 0


def test_a_suspended_run_frees_its_slot(narrow: Crew) -> None:
    """Another run takes the slot meanwhile; resumed, the first one waits for its turn and goes on."""
    crew = narrow
    first = crew.run(crew.deploy(ENDS, "suspends"))
    first.until(lambda one: one["state_name"] == "Suspended", "it suspended")
    second = crew.run(crew.deploy(ENDS, "waits", grace_seconds=1))
    second.until_said("begun")
    crew.headrace("flow-run", "resume", first.id)
    waiting = first.until(lambda one: one["state_type"] == "SCHEDULED", "it to be resumed")
    assert waiting["state_name"] == "Resuming"
    assert slots_held(crew) == 1
    crew.headrace("flow-run", "cancel", second.id)
    record = first.until(lambda one: one["end_time"], "it to go on")

    assert state_of(record) == ("COMPLETED", "Completed")
    assert state_of(second.record()) == ("CANCELLED", "Cancelled")
    assert slots_held(crew) == 0
    assert len(first.folders()) == 2


def test_a_slot_is_free_when_the_supervisor_dies_with_its_run(narrow: Crew) -> None:
    """A run that loses its process and its supervisor at once gives its slot back as soon as it is judged."""
    crew = narrow
    run = crew.run(crew.deploy(ENDS, "waits"))
    run.until_said("begun")
    supervisor = run.supervisor()
    os.kill(supervisor.pid, signal.SIGSTOP)
    run.kill()
    supervisor.kill()
    after = crew.run(crew.deploy(ENDS), end="returns").end(patience=30.0)

    assert state_of(run.record())[0] == "CRASHED"
    assert evidence_of(run.record())["host"]
    assert state_of(after) == ("COMPLETED", "Completed")
    assert slots_held(crew) == 0


def test_at_most_four_at_once_on_three_workers(tmp_path: Path, new_database_url: str | None) -> None:
    """A queue with limit 4 and three workers: by the runs' own clocks never more than 4, and 4 at some time."""
    with at_work(tmp_path / "crew", database_url=new_database_url) as crew:
        limit_queue(crew, 4)
        for _ in range(2):
            crew.hire()
        folder = crew.folder / "lives"
        folder.mkdir()
        deployment = crew.deploy(TIMED)
        for number in range(40):  # not as the crew's: forty threads that look for deaths would slow them down
            parameters = {"folder": str(folder), "number": number}
            crew.post(f"/deployments/{deployment.id}/create_flow_run", {"parameters": parameters})
        until(
            lambda: len(list(folder.iterdir())) == 40, "all runs to have lived", within=60.0, told=crew.told
        )
        lives = [tuple(map(float, path.read_text().split())) for path in folder.iterdir()]

        assert most_at_once([(began, ended) for began, ended in lives]) <= 4
        assert most_at_once([(began, ended) for began, ended in lives]) >= 2
        assert {path.name.split("-")[0] for path in folder.iterdir()} == {str(n) for n in range(40)}
        until(lambda: slots_held(crew) == 0, "all slots to be free")
        started = [worker for worker in crew.workers if "of flow 'main' started" in worker.output()]
        assert len(started) >= 2, "the work was shared"
