"""Rows 1 to 17: how a flow's own code, or a signal, ends a run."""

from __future__ import annotations

import os
import pty
import re
import signal

import pytest

from .house import House, Json, Script, evidence_of, history_of, state_of

LOGS_AND_DIES = """
    import {modules}
    from headrace import flow, get_run_logger

    @flow
    def doomed():
        logger = get_run_logger()
        for number in range(30):
            logger.info("line %d", number)
        {end}

    doomed()
"""


def assert_last_lines(evidence: Json) -> None:
    """Check that the evidence holds the last 20 lines that `doomed` logged."""
    assert [f"line {number}" for number in range(10, 30)] == evidence["last_output"]


def assert_users_frames_only(traceback: str, script: Script) -> None:
    """Check that each frame of a traceback lies in the script."""
    files = re.findall(r'File "([^"]+)"', traceback)

    assert {str(script.path)} == set(files)


def test_row_01_returns(house: House) -> None:
    """A flow that returns is Completed, and so are its tasks."""
    script = house.start("""
        from headrace import flow, task

        @task
        def double(x):
            return 2 * x

        @flow
        def fine(x: int = 4):
            return double(x)

        assert fine() == 8
    """)
    run = house.end_of(script)

    assert script.wait() == 0
    assert state_of(run) == ("COMPLETED", "Completed")
    assert history_of(run) == ["Pending", "Running", "Completed"]
    assert [state_of(task) for task in house.tasks(run["id"])] == [("COMPLETED", "Completed")]
    house.assert_never_crashed()


def test_row_02_raises(house: House) -> None:
    """A flow that raises is Failed, with type, message and a traceback of the user's frames only."""
    script = house.start("""
        from headrace import flow, task

        @task
        def divide(x):
            return 1 / x

        @flow
        def broken():
            return divide(0)

        broken()
    """)
    run = house.end_of(script)

    assert script.wait() == 1
    assert state_of(run) == ("FAILED", "Failed")
    exception = evidence_of(run)["exception"]
    assert exception["type"] == "ZeroDivisionError"
    assert exception["message"] == "division by zero"
    assert "in divide" in exception["traceback"]
    assert "in broken" in exception["traceback"]
    assert_users_frames_only(exception["traceback"], script)
    assert_users_frames_only(script.output()[script.output().index("Traceback") :], script)
    house.assert_never_crashed()


def test_row_03_chain_through_a_sync_parent_and_an_async_subflow(house: House) -> None:
    """A chained exception fails the task, its async flow and the sync parent, root cause named; none crashed."""
    script = house.start("""
        import asyncio
        import threading
        import urllib.error
        import urllib.request
        from http.server import BaseHTTPRequestHandler, HTTPServer

        from headrace import flow, task

        class Busy(BaseHTTPRequestHandler):
            def do_POST(self):
                self.send_error(409, "Conflict")

            def log_message(self, *_):
                pass

        class SyncNotStarted(Exception):
            pass

        @task
        async def trigger(url):
            try:
                await asyncio.to_thread(urllib.request.urlopen, url, b"{}")
            except urllib.error.HTTPError as error:
                raise SyncNotStarted("the sync could not be started") from error

        @flow
        async def child(url):
            await trigger(url)

        @flow
        def parent(url):
            asyncio.run(child(url))

        server = HTTPServer(("127.0.0.1", 0), Busy)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        parent(f"http://127.0.0.1:{server.server_port}/")
    """)
    run = house.end_of(script, flow="parent")
    child = house.flow_run(script.flow_run("child"))
    assert child is not None
    task = house.tasks(child["id"])[0]

    for one in (run, child, task):
        assert state_of(one) == ("FAILED", "Failed")
        exception = evidence_of(one)["exception"]
        assert exception["type"] == "SyncNotStarted"
        assert [link["type"].rpartition(".")[2] for link in exception["chain"]] == [
            "SyncNotStarted",
            "HTTPError",
        ]
        assert exception["root_cause"]["message"] == "HTTP Error 409: Conflict"
        assert "409" in one["state"]["message"]
    house.assert_never_crashed()


@pytest.mark.parametrize(("code", "shown"), [("1", "code 1"), ("'no input today'", "no input today")])
def test_row_04_sys_exit_with_a_failure(house: House, code: str, shown: str) -> None:
    """`sys.exit(1)` and `sys.exit("text")` fail the run, with the code or the text."""
    script = house.start(LOGS_AND_DIES.format(modules="sys", end=f"sys.exit({code})"))
    run = house.end_of(script)

    assert script.wait() == 1
    assert state_of(run) == ("FAILED", "Failed")
    assert evidence_of(run)["exception"]["type"] == "SystemExit"
    assert str(evidence_of(run)["exception"]["exit_code"]) in code
    assert shown in run["state"]["message"]
    house.assert_never_crashed()


def test_row_05_sys_exit_0(house: House) -> None:
    """`sys.exit(0)` completes the run, and the message says that it exited early."""
    script = house.start(LOGS_AND_DIES.format(modules="sys", end="sys.exit(0)"))
    run = house.end_of(script)

    assert script.wait() == 0
    assert state_of(run) == ("COMPLETED", "Completed")
    assert "exited early" in run["state"]["message"]
    assert evidence_of(run)["exception"]["exit_code"] == 0
    house.assert_never_crashed()


def test_row_06_os_exit_1(house: House) -> None:
    """`os._exit(1)` is Crashed: the exit code, and the last 20 lines of output."""
    script = house.start(LOGS_AND_DIES.format(modules="os", end="os._exit(1)"))
    run = house.end_of(script)

    assert script.wait() == 1
    assert state_of(run) == ("CRASHED", "Crashed")
    assert evidence_of(run)["exit_code"] == 1
    assert evidence_of(run)["certainty"] == "certain"
    assert "ended without reporting" in run["state"]["message"]
    assert run["state_history"][-1]["rank"] == "verdict"
    assert_last_lines(evidence_of(run))


def test_row_07_os_exit_0(house: House) -> None:
    """`os._exit(0)` is Crashed too: nothing says that the flow had finished."""
    script = house.start(LOGS_AND_DIES.format(modules="os", end="os._exit(0)"))
    run = house.end_of(script)

    assert script.wait() == 0
    assert state_of(run) == ("CRASHED", "Crashed")
    assert evidence_of(run)["exit_code"] == 0
    assert "ended without reporting" in run["state"]["message"]
    assert_last_lines(evidence_of(run))


LOGS_AND_WAITS = """
    import time
    from headrace import flow, get_run_logger, task

    @task
    def stuck():
        logger = get_run_logger()
        for number in range(30):
            logger.info("line %d", number)
        print("ready", flush=True)
        time.sleep(600)

    @flow
    def child():
        stuck()

    @flow
    def parent():
        child()

    parent()
"""


def test_row_08_sigkill(house: House) -> None:
    """SIGKILL crashes all that was open: the signal, whether it was the OOM killer, memory, the last lines."""
    script = house.start(LOGS_AND_WAITS)
    script.until_said("ready")
    script.companion()
    script.kill()
    run = house.end_of(script, flow="parent")

    child = house.flow_run(script.flow_run("child"))
    assert child is not None
    everything = [run, child, *house.tasks(run["id"]), *house.tasks(child["id"])]
    assert len(everything) == 4
    for one in everything:
        assert state_of(one) == ("CRASHED", "Crashed")
    evidence = evidence_of(run)
    assert evidence["signal"] == "SIGKILL"
    assert "OOM killer" in run["state"]["message"]
    assert evidence.get("oom_killed") is not True
    assert evidence["peak_memory_bytes"] > 5_000_000
    assert any(name.startswith("stuck") for name in evidence["open_tasks"])
    assert_last_lines(evidence)


def test_row_09_sigsegv(house: House) -> None:
    """A fault in C is Crashed, with the signal and the Python stack at the fault."""
    script = house.start(LOGS_AND_DIES.format(modules="ctypes", end="ctypes.string_at(1)"))
    run = house.end_of(script)

    assert script.wait() == -signal.SIGSEGV
    assert state_of(run) == ("CRASHED", "Crashed")
    assert evidence_of(run)["signal"] == "SIGSEGV"
    assert "in doomed" in evidence_of(run)["stack"]
    assert_last_lines(evidence_of(run))


TOLD_TO_END = {
    "sync": """
        @flow
        def told():
            try:
                ready()
                time.sleep(600)
            finally:
                print("cleaned up", flush=True)

        told()
    """,
    "async": """
        @flow
        async def told():
            try:
                ready()
                await asyncio.sleep(600)
            finally:
                print("cleaned up", flush=True)

        asyncio.run(told())
    """,
    "async with a task": """
        @task
        async def long():
            try:
                ready()
                await asyncio.sleep(600)
            finally:
                print("cleaned up", flush=True)

        @flow
        async def told():
            await asyncio.gather(long(), asyncio.sleep(600))

        asyncio.run(told())
    """,
    "waiting for a submitted task": """
        over = threading.Event()

        @task
        def long():
            ready()
            over.wait(600)

        @flow
        def told():
            try:
                long.submit().result()
            finally:
                over.set()
                print("cleaned up", flush=True)

        told()
    """,
}
"""Flows that clean up when they are told to end."""

TOLD_HEAD = """
        import asyncio
        import threading
        import time
        from headrace import flow, task

        def ready():
            print("ready", flush=True)
"""


@pytest.mark.parametrize("flow", TOLD_TO_END.values(), ids=TOLD_TO_END.keys())
def test_row_10_sigterm(house: House, flow: str) -> None:
    """SIGTERM that no cancel asked for is Crashed, name Terminated; the flow may clean up first."""
    script = house.start(TOLD_HEAD + flow)
    script.until_said("ready")
    script.kill(signal.SIGTERM)
    run = house.end_of(script)

    assert "cleaned up" in script.output()
    assert state_of(run) == ("CRASHED", "Terminated")
    assert evidence_of(run)["signal"] == "SIGTERM"
    for task in house.tasks(run["id"]):
        assert task["state_type"] in (
            "CRASHED",
            "CANCELLED",
            "COMPLETED",
        )  # the last: the clean-up lets it end


def test_row_10_sigterm_with_the_flow_in_a_thread(house: House) -> None:
    """A flow outside the main thread hears no signal; its supervisor tells what ended it."""
    script = house.start("""
        import threading
        import time
        from headrace import flow

        @flow
        def told():
            print("ready", flush=True)
            time.sleep(600)

        threading.Thread(target=told).start()
    """)
    script.until_said("ready")
    script.kill(signal.SIGTERM)
    run = house.end_of(script)

    assert state_of(run) == ("CRASHED", "Terminated")
    assert evidence_of(run)["signal"] == "SIGTERM"


def test_row_11_sigabrt(house: House) -> None:
    """`abort()` is Crashed, with the signal and the stack."""
    script = house.start(LOGS_AND_DIES.format(modules="os", end="os.abort()"))
    run = house.end_of(script)

    assert script.wait() == -signal.SIGABRT
    assert state_of(run) == ("CRASHED", "Crashed")
    assert evidence_of(run)["signal"] == "SIGABRT"
    assert "in doomed" in evidence_of(run)["stack"]


def test_row_12_memory_error(house: House) -> None:
    """A MemoryError fails the run and tells how much memory the process had taken."""
    script = house.start(LOGS_AND_DIES.format(modules="sys", end="bytearray(sys.maxsize // 2)"))
    run = house.end_of(script)

    assert state_of(run) == ("FAILED", "Failed")
    assert evidence_of(run)["exception"]["type"] == "MemoryError"
    assert evidence_of(run)["peak_memory_bytes"] > 5_000_000
    house.assert_never_crashed()


@pytest.mark.parametrize(
    ("odd", "shown"),
    [
        ("def __reduce__(self): raise TypeError('no pickle')", "Odd: some text"),
        ("def __init__(self, a='', b=None, c=None): assert a and not b", "Odd: some text"),
        (
            "def __str__(self): raise ValueError('no text')",
            "Odd: <its text cannot be made: __str__ raised ValueError>",
        ),
    ],
    ids=["cannot be pickled", "takes three arguments", "has no text"],
)
@pytest.mark.parametrize("runner", ["ThreadPoolTaskRunner", "ProcessPoolTaskRunner"])
def test_row_14_odd_exceptions(embedded: House, odd: str, shown: str, runner: str) -> None:
    """An exception that cannot be pickled, made again or shown fails its run as any other."""
    script = embedded.start(f"""
        from headrace import flow, task
        from headrace.task_runners import {runner}

        class Odd(Exception):
            {odd}

        @task
        def raises():
            raise Odd("some text")

        @flow(task_runner={runner}(max_workers=1))
        def main():
            raises.submit().result(raise_on_failure=False)
            raise Odd("some text")

        main()
    """)
    run = embedded.end_of(script)
    task = embedded.tasks(run["id"])[0]

    for one in (run, task):
        assert state_of(one) == ("FAILED", "Failed")
        assert one["state"]["message"] == shown
        assert evidence_of(one)["exception"]["type"].rpartition(".")[2] == "Odd"
    embedded.assert_never_crashed()


def test_row_15_message_of_5_mb(house: House) -> None:
    """A message of 5 MB is cut, and its full length told."""
    script = house.start(LOGS_AND_DIES.format(modules="os", end="raise ValueError('x' * 5_000_000)"))
    run = house.end_of(script)

    assert state_of(run) == ("FAILED", "Failed")
    assert "5000000 characters in all" in run["state"]["message"]
    assert len(run["state"]["message"]) < 100_000
    assert "5000000 characters in all" in evidence_of(run)["exception"]["message"]
    house.assert_never_crashed()


def test_row_17_parameter_does_not_fit(house: House) -> None:
    """A parameter that does not fit fails the run before any user code, naming field and reason."""
    script = house.start("""
        from headrace import flow

        @flow
        def typed(count: int, name: str = "n"):
            print("user code ran")

        typed(count="many")
    """)
    run = house.end_of(script)

    assert "user code ran" not in script.output()
    assert state_of(run) == ("FAILED", "Failed")
    assert history_of(run) == ["Pending", "Failed"]
    exception = evidence_of(run)["exception"]
    assert exception["type"].endswith("ParameterTypeError")
    assert "count" in exception["message"]
    assert "integer" in exception["message"]
    house.assert_never_crashed()


@pytest.mark.parametrize("flow", TOLD_TO_END.values(), ids=TOLD_TO_END.keys())
def test_row_19_ctrl_c_of_a_flow_that_cleans_up(embedded: House, flow: str) -> None:
    """Ctrl-C is Cancelled, name Interrupted, for sync and async flows and while tasks are waited for."""
    script = embedded.start(TOLD_HEAD + flow)
    script.until_said("ready")
    script.kill(signal.SIGINT)
    run = embedded.end_of(script)

    assert "cleaned up" in script.output()
    assert "never retrieved" not in script.output(), "the event loop ends as asyncio ends it"
    assert script.output().rstrip().endswith("KeyboardInterrupt")
    assert state_of(run) == ("CANCELLED", "Interrupted")
    # Completed: the flow's clean-up lets its submitted task end.
    assert {task["state_type"] for task in embedded.tasks(run["id"])} <= {"CANCELLED", "COMPLETED"}
    embedded.assert_never_crashed()


def test_row_19_ctrl_c(house: House) -> None:
    """Ctrl-C at a terminal is Cancelled, name Interrupted; the companion, which saw it too, lives to ship it."""
    terminal, script_side = pty.openpty()
    try:
        script = house.start(LOGS_AND_WAITS, stdin=script_side, terminal=True)
        os.close(script_side)
        script.until_said("ready")
        script.companion()
        os.write(terminal, b"\x03")
        run = house.end_of(script, flow="parent")
    finally:
        os.close(terminal)

    assert state_of(run) == ("CANCELLED", "Interrupted")
    child = house.flow_run(script.flow_run("child"))
    assert child is not None
    assert state_of(child) == ("CANCELLED", "Interrupted")
    assert state_of(house.tasks(child["id"])[0]) == ("CANCELLED", "Interrupted")
    house.assert_never_crashed()
