"""Rows 33 to 36, 41, 43 and 44: runs with children: processes, threads, forks, subflows, retries."""

from __future__ import annotations

import signal
import time
from datetime import datetime

import pytest

from headrace.server.store.database import FILE_NAME

from .house import HEADRACE, House, Json, Process, evidence_of, history_of, state_of, until

GRACE_S = 1.0


def test_row_33_child_process_left_behind(house: House) -> None:
    """A child that the flow leaves behind does not hold its state up; it is ended after a grace time, and told."""
    script = house.start(
        """
        import subprocess
        import sys
        from headrace import flow

        @flow
        def careless():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)  # the orphan"])
            print("child", child.pid, flush=True)

        careless()
        """,
        HEADRACE_GRACE_SECONDS=GRACE_S,
    )
    run = house.end_of(script)
    child = Process(int(script.output().split("child ")[1].split()[0]))

    assert state_of(run) == ("COMPLETED", "Completed")
    # A busy machine may come to ask late; where it asks in time, the child is there.
    assert child.is_alive() or _seconds_since_end(run) > GRACE_S, "the grace time has not passed"
    until(lambda: not child.is_alive(), "the orphan to be ended", within=GRACE_S + 1.0)
    told = until(
        lambda: house.logs(run["id"], logger="headrace.supervisor"), "the orphan in the log", told=script.told
    )
    assert str(child.pid) in told[0]
    assert "# the orphan" in told[0]
    house.assert_never_crashed()


def _seconds_since_end(run: Json) -> float:
    return time.time() - datetime.fromisoformat(run["end_time"].replace("Z", "+00:00")).timestamp()


def test_row_33_a_child_in_a_session_of_its_own_is_let_be(embedded: House) -> None:
    """What the flow started as a service of its own is not ended, only told."""
    script = embedded.start(
        """
        import subprocess
        import sys
        from headrace import flow

        @flow
        def starts_service():
            child = subprocess.Popen(
                [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
            )
            print("child", child.pid, flush=True)

        starts_service()
        """,
        HEADRACE_GRACE_SECONDS=GRACE_S,
    )
    run = embedded.end_of(script)
    child = Process(int(script.output().split("child ")[1].split()[0]))
    try:
        until(lambda: not embedded.companions(), "the companion to end", within=GRACE_S + 3.0)

        assert child.is_alive()
        assert str(child.pid) in embedded.logs(run["id"], logger="headrace.supervisor")[0]
    finally:
        child.kill()


def test_row_34_thread_left_running(house: House) -> None:
    """A thread that outlives the flow does not hold its state up, though the process lives on."""
    script = house.start("""
        import threading
        from headrace import flow

        @flow
        def leaves_thread():
            threading.Thread(target=threading.Event().wait).start()

        leaves_thread()
        print("flow is over", flush=True)
    """)
    script.companion()
    script.until_said("flow is over")
    run = house.until_state(
        script.root(), lambda found: found["state_type"] == "COMPLETED", "its end on record", within=1.0
    )

    assert script.process.poll() is None, "the thread holds the process"
    assert state_of(run) == ("COMPLETED", "Completed")
    script.kill()
    until(lambda: script.journal().exit, "the companion to have seen the end", told=script.told)
    after = house.flow_run(run["id"])
    assert after is not None
    assert state_of(after) == ("COMPLETED", "Completed")


def test_row_35_parent_catches_what_its_subflow_raises(house: House) -> None:
    """The child is Failed and the parent Completed, whether either is sync or async."""
    script = house.start("""
        import asyncio
        from headrace import flow

        @flow
        def child():
            raise ValueError("from the child")

        @flow
        async def async_child():
            raise ValueError("from the async child")

        @flow
        def parent():
            try:
                child()
            except ValueError:
                pass
            return 1

        @flow
        async def async_parent():
            try:
                await async_child()
            except ValueError:
                pass
            return 1

        parent()
        asyncio.run(async_parent())
    """)
    script.wait()
    for prefix in ("", "async-"):
        run = house.end_of(script, flow=prefix + "parent")
        child = house.flow_run(script.flow_run(prefix + "child"))
        assert child is not None

        assert state_of(run) == ("COMPLETED", "Completed")
        assert state_of(child) == ("FAILED", "Failed")
        assert child["parent_flow_run_id"] == run["id"] or child["parent_task_run_id"]
        assert evidence_of(child)["exception"]["type"] == "ValueError"
        assert [state_of(task) for task in house.tasks(run["id"])] == [("FAILED", "Failed")]
    house.assert_never_crashed()


def test_row_36_retries_that_fail(house: House) -> None:
    """`retries=1` and two failures: AwaitingRetry, Retrying, Failed, counted as two, for flows and tasks."""
    script = house.start("""
        from headrace import flow, task

        calls = []

        @task(retries=1)
        def stubborn():
            raise ValueError("the task, again")

        @flow(retries=1)
        def twice():
            calls.append(1)
            stubborn(return_state=True)
            raise ValueError(f"call {len(calls)}")

        twice()
    """)
    run = house.end_of(script)

    assert state_of(run) == ("FAILED", "Failed")
    assert history_of(run) == ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]
    assert run["run_count"] == 2
    assert evidence_of(run)["exception"]["message"] == "call 2"
    first = run["state_history"][2]["state_details"]["evidence"]["exception"]
    assert first["message"] == "call 1", "the first failure's evidence stays in the history"
    tasks = house.tasks(run["id"])
    assert len(tasks) == 2, "one for each run of the flow"
    for task in tasks:
        assert history_of(task) == ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]
        assert task["run_count"] == 2
    house.assert_never_crashed()


def test_row_41_plain_script_as_a_user_runs_it(embedded: House) -> None:
    """`python flow.py` with nothing set but a home directory (and a database), then `headrace flow-run ls`."""
    import subprocess
    import sys

    person = embedded.folder / "person"
    person.mkdir()
    (person / "flow.py").write_text(
        "from headrace import flow\n\n@flow\ndef hello(name='you'):\n    return name\n\nhello()\n"
    )
    environ = embedded.environment()
    del environ["HEADRACE_HOME"]
    environ["HOME"] = str(person)
    plain = {"cwd": person, "env": environ, "capture_output": True, "text": True, "timeout": 30}
    done = subprocess.run([sys.executable, "flow.py"], check=True, **plain)
    listed = subprocess.run([str(HEADRACE), "flow-run", "ls"], check=True, **plain)

    assert "Completed" in done.stderr
    assert "hello" in listed.stdout
    assert "Completed" in listed.stdout
    assert (person / ".headrace").is_dir()
    assert (person / ".headrace" / FILE_NAME).exists() == (embedded.database_url is None)


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), 9)", "os._exit(3)"])
def test_row_43_process_of_a_pool_dies(house: House, how: str) -> None:
    """Its task is Crashed with evidence, the flow sees the error and decides, the pool goes on."""
    script = house.start(f"""
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
        def survives():
            futures = works.map(range(3))
            try:
                futures[1].result()
            except CrashedRun as error:
                print("the flow saw", type(error).__name__, flush=True)
            assert futures[0].result() != futures[2].result()

        survives()
    """)
    run = house.end_of(script)

    assert state_of(run) == ("COMPLETED", "Completed"), script.told()
    assert "the flow saw CrashedTaskError" in script.output()
    tasks = {task["name"]: task for task in house.tasks(run["id"])}
    first, crashed, last = (tasks[f"works-{number}"] for number in range(3))
    assert [state_of(one) for one in (first, last)] == [("COMPLETED", "Completed")] * 2
    assert state_of(crashed) == ("CRASHED", "Crashed")
    assert evidence_of(crashed)["pid"] == int(script.output().split("dies in ")[1].split()[0])
    if "kill" in how:
        assert evidence_of(crashed)["signal"] == "SIGKILL"
    else:
        assert evidence_of(crashed)["exit_code"] == 3


FORKS = """
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
    def family():
        return forks()

    try:
        print("said", family(), flush=True)
    except ValueError:
        print("said nothing", flush=True)
"""


@pytest.mark.parametrize(
    "child",
    ["raise ValueError('the child')", "return 'the child'", "sys.exit(7)"],
    ids=["raises", "returns", "exits"],
)
def test_row_44_forked_child_never_speaks_for_the_run(house: House, child: str) -> None:
    """A forked child that raises, returns or exits through the engine changes nothing of its parent's run."""
    script = house.start(FORKS.format(child=child))
    run = house.end_of(script)

    assert script.wait() == 0
    assert "said the parent" in script.output()
    assert state_of(run) == ("COMPLETED", "Completed")
    assert history_of(run) == ["Pending", "Running", "Completed"]
    assert [history_of(task) for task in house.tasks(run["id"])] == [["Pending", "Running", "Completed"]]
    assert len([*house.spool.folders(), *house.spool.shipped_folders()]) == 1
    house.assert_never_crashed()


def test_row_44_forked_child_with_a_run_of_its_own(house: House) -> None:
    """A run that a forked child begins is its own: another journal, another companion, its own end."""
    script = house.start("""
        import os
        from headrace import flow

        @flow
        def of_the_child():
            print("child", os.getpid(), flush=True)
            os.kill(os.getpid(), 9)

        @flow
        def of_the_parent():
            pid = os.fork()
            if pid == 0:
                of_the_child()
            os.waitpid(pid, 0)

        of_the_parent()
    """)
    run = house.end_of(script)
    of_the_child = {"flows": {"name": {"any_": ["of-the-child"]}}, "sort": "START_TIME_DESC"}
    child = until(lambda: house.find("flow_runs", of_the_child), "the child's run on record")[0]

    assert state_of(run) == ("COMPLETED", "Completed")
    child = house.until_state(child["id"], lambda one: one["state_type"] == "CRASHED", "the child's end")
    assert evidence_of(child)["signal"] == signal.SIGKILL.name
    assert evidence_of(child)["pid"] == int(script.output().split("child ")[1].split()[0])
