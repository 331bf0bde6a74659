"""Rows 33 to 38, 43 and 44 under a worker: what runs leave behind, call, fork, and how they are tried again."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.model import entries
from tests import disks

from .crew import Crew, Deployment, Run
from .house import Json, Process, evidence_of, history_of, state_of, until
from .server import Server

# Servers and workers of their own, on machines that do other things too.
pytestmark = pytest.mark.timeout(180)

GRACE_S = 1.0


def said(crew: Crew, run: Run, text: str) -> str:
    """Return what follows ``text`` in the line of the run's log that holds it, once it is on record."""
    found = until(
        lambda: [line for line in crew.logs(run.id) if text in line], f"{text!r} in the log", told=run.told
    )
    return found[0].split(text, 1)[1].strip()


def never_crashed(record: Json) -> bool:
    """Say whether a run was never told to have crashed, not even for a moment."""
    return all(state["type"] != "CRASHED" for state in record["state_history"])


# -- children and threads


@pytest.mark.parametrize("start", ["warm", "fresh"])
def test_row_33_child_process_left_behind(crew: Crew, start: str) -> None:
    """A child that the flow leaves behind does not hold its state up; it is ended after a grace time, and told."""
    run = crew.carry_out(
        """
        import subprocess
        import sys
        from headrace import flow

        @flow
        def main():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)  # the orphan"])
            print("child", child.pid, flush=True)
        """,
        start=start,
        grace_seconds=GRACE_S,
    )
    record = run.end(within=1.0)
    child = Process(int(said(crew, run, "child ")))

    assert state_of(record) == ("COMPLETED", "Completed")
    until(lambda: not child.is_alive(), "the orphan to be ended", within=GRACE_S + 1.0)
    told = until(
        lambda: crew.logs(run.id, logger="headrace.supervisor"), "the orphan in the log", told=run.told
    )
    assert str(child.pid) in told[0]
    assert "# the orphan" in told[0]
    until(lambda: not run.supervisor().is_alive(), "its supervisor to end")


def test_row_33_a_grandchild_that_hides(crew: Crew) -> None:
    """A grandchild whose parent has gone, and whose environment was emptied, is found and ended all the same."""
    run = crew.carry_out(
        """
        import subprocess
        import sys
        from headrace import flow

        STARTS = '''
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={}, stdout=subprocess.DEVNULL)
        print(child.pid)
        '''.replace("\\n        ", "\\n")

        @flow
        def main():
            print("grandchild", subprocess.check_output([sys.executable, "-c", STARTS], text=True), flush=True)
        """,
        grace_seconds=GRACE_S,
    )
    record = run.end(within=1.0)
    child = Process(int(said(crew, run, "grandchild ")))

    assert state_of(record) == ("COMPLETED", "Completed")
    until(lambda: not child.is_alive(), "the orphan to be ended", within=GRACE_S + 1.0)
    until(lambda: not run.supervisor().is_alive(), "its supervisor to end")


def test_row_34_thread_left_running(crew: Crew) -> None:
    """A thread that outlives the flow does not hold its state up; its process is ended after the grace time."""
    run = crew.carry_out(
        """
        import threading
        from headrace import flow

        @flow
        def main():
            threading.Thread(target=threading.Event().wait).start()
            print("flow is over", flush=True)
        """,
        grace_seconds=GRACE_S,
    )
    process = run.process()
    run.until_said("flow is over")
    record = run.until(lambda one: one["state_type"] == "COMPLETED", "its end", within=1.0)

    assert state_of(record) == ("COMPLETED", "Completed")
    until(lambda: not process.is_alive(), "the process to be ended", within=GRACE_S + 1.0)
    until(lambda: not run.supervisor().is_alive(), "its supervisor to end", told=run.told)
    after = run.record()
    assert history_of(after)[-2:] == ["Running", "Completed"]
    assert "a thread of it that is no daemon" in crew.logs(run.id, logger="headrace.supervisor")[0]


# -- subflows and retries


@pytest.mark.parametrize("kind", ["", "async_"])
def test_row_35_parent_catches_what_its_subflow_raises(crew: Crew, kind: str) -> None:
    """The child is Failed and the parent Completed, whether either is sync or async."""
    given = crew.carry_out(
        """
        from headrace import flow

        @flow
        def child():
            raise ValueError("from the child")

        @flow
        async def async_child():
            raise ValueError("from the async child")

        @flow
        def main():
            try:
                child()
            except ValueError:
                pass

        @flow
        async def async_main():
            try:
                await async_child()
            except ValueError:
                pass
        """,
        kind + "main",
    )
    record = given.end(within=1.0)
    (standing_in,) = crew.tasks(given.id)
    child = crew.flow_run(standing_in["state"]["state_details"]["child_flow_run_id"])
    assert child is not None

    assert state_of(record) == ("COMPLETED", "Completed")
    assert state_of(child) == ("FAILED", "Failed")
    assert child["parent_task_run_id"] == standing_in["id"]
    assert evidence_of(child)["exception"]["type"] == "ValueError"
    assert state_of(standing_in) == ("FAILED", "Failed")
    assert never_crashed(record)


TRIES = """
    import os
    from pathlib import Path
    from headrace import flow, runtime

    @flow(retries={retries}, retry_delay_seconds=0.1)
    def main(ends: list[str]):
        number = runtime.flow_run.run_count
        print("try", number, "in", os.getpid(), flush=True)
        end = ends[number - 1]
        if end == "fails":
            raise ValueError(f"try {{number}}")
        if end == "killed":
            os.kill(os.getpid(), 9)
        if end == "exits":
            os._exit(3)
"""


def tried(crew: Crew, *ends: str, retries: int = 1) -> Run:
    """Make a run whose tries end as told."""
    return crew.run(crew.deploy(TRIES.format(retries=retries)), ends=list(ends))


def names_after_pending(record: Json) -> list[str]:
    """Return a run's states from its first Pending on."""
    names = history_of(record)
    return names[names.index("Pending") :]


def over(run: Run) -> Json:
    """Wait for the end of a run whose attempts may crash on the way: what stands when its budget is over."""
    record = run.until(
        lambda one: one["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"), "its end"
    )
    assert run.crew.get(f"/flow_runs/{run.id}") is not None
    return record


def test_row_36_retries_that_fail(crew: Crew) -> None:
    """`retries=1` and two failures: AwaitingRetry, Retrying, Failed, in one process, counted as two."""
    run = tried(crew, "fails", "fails")
    record = run.end(within=1.0)

    assert state_of(record) == ("FAILED", "Failed")
    assert names_after_pending(record) == ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]
    assert record["run_count"] == 2
    assert evidence_of(record)["exception"]["message"] == "try 2"
    waiting = next(state for state in record["state_history"] if state["name"] == "AwaitingRetry")
    assert waiting["state_details"]["evidence"]["exception"]["message"] == "try 1"
    assert len(run.folders()) == 1


def test_row_37_killed_once_then_completes(crew: Crew) -> None:
    """`retries=1`, the first attempt SIGKILLed: AwaitingRetry, then a second process that completes."""
    run = tried(crew, "killed", "returns")
    record = run.until(lambda one: one["state_type"] == "COMPLETED", "the second attempt to complete")

    assert names_after_pending(record) == [
        "Pending", "Running", "Crashed", "AwaitingRetry", "Pending", "Retrying", "Completed",
    ]  # fmt: skip
    assert record["run_count"] == 2
    crashed = next(state for state in record["state_history"] if state["type"] == "CRASHED")
    evidence = crashed["state_details"]["evidence"]
    assert evidence["signal"] == "SIGKILL"
    assert evidence["pid"] == run.header(1).pid
    assert any("try 1 in" in line for line in evidence["last_output"])
    assert run.header(1).pid != run.header(2).pid
    assert [header.attempt for header in (run.header(1), run.header(2))] == [1, 2]


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        (("fails", "killed", "returns"), "COMPLETED"),
        (("killed", "fails", "returns"), "COMPLETED"),
        (("fails", "killed", "fails"), "FAILED"),
        (("killed", "fails", "killed"), "CRASHED"),
        (("killed", "exits", "killed"), "CRASHED"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else value,
)
def test_row_37_one_budget_for_failures_and_crashes(crew: Crew, ends: tuple[str, ...], state: str) -> None:
    """`retries=2`: three tries in all, however each of them ends; there is never a fourth."""
    run = tried(crew, *ends, retries=2)
    record = run.until(lambda one: one["run_count"] == 3 and one["state_type"] == state, "the third end")

    until(lambda: crew.spool.folders() == [], "all journals to be shipped", told=run.told)
    record = run.record()
    assert record["state_type"] == state
    assert record["run_count"] == 3
    assert history_of(record).count("AwaitingRetry") == 2


def test_row_37_no_budget_no_retry(crew: Crew) -> None:
    """Without retries a crash is the end."""
    run = tried(crew, "killed", retries=0)
    record = run.end(within=1.0)

    until(lambda: crew.spool.folders() == [], "the journal to be shipped", told=run.told)
    assert state_of(run.record()) == ("CRASHED", "Crashed")
    assert names_after_pending(record) == ["Pending", "Running", "Crashed"]


def test_row_37_crash_brake(crew: Crew) -> None:
    """Five crashes in the window pause the deployment, say so, and end the tries."""
    deployment = crew.deploy(TRIES.format(retries=10))
    run = crew.run(deployment, ends=["killed"] * 11)
    paused = until(
        lambda: found if (found := crew.get(f"/deployments/{deployment.id}")) and found["paused"] else None,
        "the brake to be pulled",
        told=run.told,
    )

    until(lambda: crew.spool.folders() == [], "all journals to be shipped", told=run.told)
    record = run.record()
    assert state_of(record) == ("CRASHED", "Crashed")
    assert history_of(record).count("Crashed") == 5
    assert record["run_count"] == 5
    assert paused["paused"] is True
    assert "5 crashes within 600 s" in crew.logs(run.id, logger="headrace.server")[0]
    assert "5 crashes" in crew.headrace("deployment", "inspect", deployment.name)


# -- processes of pools, and forks


@pytest.mark.parametrize("start", ["warm", "fresh"])
@pytest.mark.parametrize("how", ["os.kill(os.getpid(), 9)", "os._exit(3)"])
def test_row_43_process_of_a_pool_dies(crew: Crew, how: str, start: str) -> None:
    """Its task is Crashed with evidence, the flow sees the error and decides, the pool goes on."""
    run = crew.carry_out(
        f"""
        import os
        from headrace import flow, task
        from headrace.exceptions import CrashedRun
        from headrace.task_runners import ProcessPoolTaskRunner

        @task
        def works(number):
            if number == 1:
                print("dies in", os.getpid(), flush=True)
                {how}
            return os.getpid()

        @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
        def main():
            futures = works.map(range(3))
            try:
                futures[1].result()
            except CrashedRun as error:
                print("the flow saw", type(error).__name__, flush=True)
            assert futures[0].result() != futures[2].result()
        """,
        start=start,
    )
    record = run.end(within=1.0)

    assert state_of(record) == ("COMPLETED", "Completed"), run.told()
    assert said(crew, run, "the flow saw ") == "CrashedTaskError"
    tasks = {task["name"]: task for task in crew.tasks(run.id)}
    first, crashed, last = (tasks[f"works-{number}"] for number in range(3))
    assert [state_of(one) for one in (first, last)] == [("COMPLETED", "Completed")] * 2
    assert state_of(crashed) == ("CRASHED", "Crashed")
    assert evidence_of(crashed)["pid"] == int(said(crew, run, "dies in "))
    if "kill" in how:
        assert evidence_of(crashed)["signal"] == "SIGKILL"
    else:
        assert evidence_of(crashed)["exit_code"] == 3


@pytest.mark.parametrize("start", ["warm", "fresh"])
@pytest.mark.parametrize(
    "child",
    ["raise ValueError('the child')", "return 'the child'", "sys.exit(7)"],
    ids=["raises", "returns", "exits"],
)
def test_row_44_forked_child_never_speaks_for_the_run(crew: Crew, child: str, start: str) -> None:
    """A forked child that raises, returns or exits through the engine changes nothing of its parent's run."""
    run = crew.carry_out(
        f"""
        import os
        import sys
        from headrace import flow, task

        @task
        def forks():
            pid = os.fork()
            if pid == 0:
                {child}
            os.waitpid(pid, 0)
            return "the parent"

        @flow
        def main():
            print("said", forks(), flush=True)
        """,
        start=start,
    )
    record = run.end(within=1.0)

    assert state_of(record) == ("COMPLETED", "Completed")
    assert names_after_pending(record) == ["Pending", "Running", "Completed"]
    said(crew, run, "said the parent")
    assert [history_of(task) for task in crew.tasks(run.id)] == [["Pending", "Running", "Completed"]]
    until(lambda: not run.supervisor().is_alive(), "its supervisor to end", told=run.told)


def test_row_44_forked_child_with_a_run_of_its_own(crew: Crew) -> None:
    """A run that a forked child begins is its own: another journal, another supervisor, its own end."""
    run = crew.carry_out(
        """
        import os
        from headrace import flow

        @flow
        def of_the_child():
            print("child", os.getpid(), flush=True)
            os.kill(os.getpid(), 9)

        @flow
        def main():
            pid = os.fork()
            if pid == 0:
                of_the_child()
            os.waitpid(pid, 0)
        """
    )
    record = run.end(within=1.0)
    of_the_child = {"flows": {"name": {"any_": ["of-the-child"]}}, "sort": "START_TIME_DESC"}
    child = until(lambda: crew.find("flow_runs", of_the_child), "the child's run on record")[0]

    assert state_of(record) == ("COMPLETED", "Completed")
    ended = crew.until_state(child["id"], lambda one: one["state_type"] == "CRASHED", "the child's end")
    assert evidence_of(ended)["signal"] == signal.SIGKILL.name
    assert evidence_of(ended)["pid"] != run.header().pid


# -- a full disk

FILLS = """
    import os
    import pathlib
    from headrace import flow, get_run_logger, task

    filler = pathlib.Path(os.environ["HEADRACE_HOME"]) / "filler"

    def fill():
        with filler.open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    @task
    def step(number):
        return number

    @flow
    def main(done: str):
        logger = get_run_logger()
        logger.info("before the disk is full")
        fill()
        for number in range(2000):
            logger.info("line %d, when there is no room for it", number)
        for number in range(20):
            step(number)
        pathlib.Path(done).touch()
"""


@pytest.fixture
def small_disk(tmp_path: Path, new_database_url: str | None) -> Iterator[Crew]:
    """A worker whose home folder lies on a disk of 6 MB, and a server whose does not."""
    server = Server(tmp_path / "server", database_url=new_database_url).start()
    crew = Crew(tmp_path / "host", server)
    try:
        with disks.small_disk(crew.home, "6m"), contextlib.closing(crew):
            crew.hire()
            yield crew
    finally:
        server.stop()


def test_row_38_disk_full_under_the_journal(small_disk: Crew) -> None:
    """The run goes on, its state is reported though the disk is full, and what was lost is counted and told."""
    crew = small_disk
    done = crew.folder / "done"
    run = crew.run(crew.deploy(FILLS, stream_output=False), done=str(done))
    record = run.end(within=2.0)

    assert done.exists(), "the flow went on to its end"
    assert state_of(record) == ("COMPLETED", "Completed")
    assert [state_of(task) for task in crew.tasks(run.id)] == [("COMPLETED", "Completed")] * 20
    kept = crew.logs(run.id)
    assert "before the disk is full" in kept
    missing = [entry for entry in run.lines() if isinstance(entry, entries.Missing)]
    lost = sum(entry.records for entry in missing)
    assert 2000 <= lost + len(kept) <= 2010
    assert "No space left" in missing[0].reason
    told = until(
        lambda: crew.logs(run.id, logger="headrace.supervisor"), "the loss told in the log", told=run.told
    )
    assert str(lost) in told[0]
    assert never_crashed(record)


def test_row_38_killed_on_a_full_disk(small_disk: Crew) -> None:
    """The verdict on a run that is killed while the disk is full has its room, kept back for it from the beginning."""
    source = FILLS.replace("fill()\n        for", "fill()\n        os.kill(os.getpid(), 9)\n        for")
    run = small_disk.run(small_disk.deploy(source, stream_output=False), done="/nowhere")
    record = run.end(within=1.0)

    assert state_of(record) == ("CRASHED", "Crashed")
    assert evidence_of(record)["signal"] == "SIGKILL"
    assert (small_disk.home / "filler").exists()
    until(lambda: small_disk.spool.folders() == [], "the journal to be shipped", told=run.told)


def _fill_and_run_again(crew: Crew) -> tuple[Deployment, Run]:
    """Fill the disk by a run; return its deployment and the next one, which waits."""
    deployment = crew.deploy(FILLS, stream_output=False)
    crew.run(deployment, done=str(crew.folder / "done")).end(within=2.0)
    second = crew.run(deployment, done=str(crew.folder / "second"))
    crew.worker.until_said("cannot be started now")
    return deployment, second


def test_row_38_the_next_run_on_a_full_disk(small_disk: Crew) -> None:
    """A run that comes while the disk is full waits unbegun; its worker takes no others, says why, and goes on."""
    crew = small_disk
    deployment, second = _fill_and_run_again(crew)
    third = crew.run(deployment, done=str(crew.folder / "third"))
    assert state_of(second.record()) == ("PENDING", "Pending")
    (crew.home / "filler").unlink()
    ends = [run.until(lambda one: one["state_type"] == "COMPLETED", "its end") for run in (second,)]
    (crew.home / "filler").unlink(missing_ok=True)
    ends += [run.until(lambda one: one["state_type"] == "COMPLETED", "its end") for run in (third,)]

    assert all(never_crashed(record) for record in ends)
    assert [record["run_count"] for record in ends] == [1, 1]
    assert "No space left" in crew.worker.output()


def test_row_38_the_run_that_waited_for_the_disk_is_taken_away(small_disk: Crew) -> None:
    """A worker whose disk was full takes runs again when there is room, though the one it could not start is gone."""
    crew = small_disk
    deployment, second = _fill_and_run_again(crew)
    crew.post(f"/flow_runs/{second.id}/set_state", {"state": {"type": "CANCELLING"}})
    second.until(lambda one: one["state_type"] == "CANCELLED", "its cancellation")
    (crew.home / "filler").unlink()
    third = crew.run(deployment, done=str(crew.folder / "third"))

    assert state_of(third.until(lambda one: one["state_type"] == "COMPLETED", "its end")) == (
        "COMPLETED",
        "Completed",
    )
    assert not (crew.folder / "second").exists()
