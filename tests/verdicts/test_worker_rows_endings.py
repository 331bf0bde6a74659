"""Rows 1 to 15 under a worker: how a flow's own code, or a signal, ends a run."""

from __future__ import annotations

import re
import signal

import pytest

from headrace.journal.sample import read_sample

from .crew import Crew, Deployment, Run
from .house import Json, Process, evidence_of, history_of, state_of, until

PRINTS_AND_DIES = """
    import {modules}
    from headrace import flow

    @flow
    def main():
        for number in range(30):
            print("line", number)
        {end}
"""


def assert_fact(crew: Crew, run: Json) -> None:
    """Check that the run's own process told its end, and that nobody ever took it for crashed."""
    everything = [run, *crew.tasks(run["id"])]

    assert run["state_history"][-1]["rank"] == "fact"
    assert [one["name"] for one in everything if "CRASHED" in types_of(one)] == []


def assert_verdict(run: Json) -> None:
    """Check that the run's end is its supervisor's verdict, and that it is sure of it."""
    assert run["state_history"][-1]["rank"] == "verdict"
    assert evidence_of(run)["certainty"] == "certain"
    assert evidence_of(run)["host"]
    assert evidence_of(run)["pid"] > 1
    assert evidence_of(run)["died"][:2] == "20"


def types_of(run: Json) -> list[str]:
    """Return the types of a run's states, oldest first."""
    return [state["type"] for state in run["state_history"]]


def assert_last_lines(run: Json) -> None:
    """Check that the evidence holds the last 20 lines that the flow printed."""
    assert [f"line {number}" for number in range(10, 30)] == evidence_of(run)["last_output"]


def assert_users_frames_only(traceback: str, deployment: Deployment) -> None:
    """Check that each frame of a traceback lies in the deployment's code."""
    assert {str(deployment.folder / "flows.py")} == set(re.findall(r'File "([^"]+)"', traceback))


def assert_nothing_left(run: Run) -> None:
    """Check that process and supervisor end, and that the journal is put away: its slot is free, its lease over."""
    left = [run.process(), run.supervisor()]
    until(lambda: not any(one.is_alive() for one in left), "process and supervisor to end", told=run.told)

    assert run.folder().path.parent == run.crew.spool.shipped


@pytest.mark.parametrize("start", ["warm", "fresh"])
def test_row_01_returns(crew: Crew, start: str) -> None:
    """A flow that returns is Completed, and so are its tasks."""
    given = crew.carry_out(
        """
        from headrace import flow, task

        @task
        def double(x):
            return 2 * x

        @flow
        def main(x: int = 4):
            print("doubled", double(x))
        """,
        start=start,
    )
    run = given.end(within=1.0)

    assert state_of(run) == ("COMPLETED", "Completed")
    assert history_of(run)[-3:] == ["Pending", "Running", "Completed"]
    assert run["run_count"] == 1
    assert [state_of(task) for task in crew.tasks(run["id"])] == [("COMPLETED", "Completed")]
    assert_fact(crew, run)
    assert_nothing_left(given)
    assert "doubled 8" in crew.logs(run["id"])


@pytest.mark.parametrize("start", ["warm", "fresh"])
def test_row_02_raises(crew: Crew, start: str) -> None:
    """A flow that raises is Failed, with type, message and a traceback of the user's frames only."""
    deployment = crew.deploy(
        """
        from headrace import flow, task

        @task
        def divide(x):
            return 1 / x

        @flow
        def main():
            return divide(0)
        """,
        start=start,
    )
    given = crew.run(deployment)
    run = given.end(within=1.0)

    assert state_of(run) == ("FAILED", "Failed")
    exception = evidence_of(run)["exception"]
    assert exception["type"] == "ZeroDivisionError"
    assert exception["message"] == "division by zero"
    assert "in divide" in exception["traceback"]
    assert "in main" in exception["traceback"]
    assert_users_frames_only(exception["traceback"], deployment)
    assert_fact(crew, run)
    assert_nothing_left(given)


@pytest.mark.parametrize(
    ("body", "type", "shown"),
    [
        ("def main(): main.fn()", "RecursionError", "maximum recursion depth"),
        ("def main(): raise GeneratorExit('early')", "GeneratorExit", "early"),
        ("async def main(): raise BaseException('rare')", "BaseException", "rare"),
        ("async def main(): assert {} == {1: 2}, 'no match'", "AssertionError", "no match"),
    ],
    ids=["too deep", "GeneratorExit", "BaseException", "assert"],
)
def test_row_02_raises_something_odd(crew: Crew, body: str, type: str, shown: str) -> None:
    """Whatever is raised fails the run, also what is no `Exception`."""
    given = crew.carry_out(f"""
        from headrace import flow

        @flow
        {body}
    """)
    run = given.end(within=1.0)

    assert state_of(run) == ("FAILED", "Failed")
    assert evidence_of(run)["exception"]["type"] == type
    assert shown in run["state"]["message"]
    assert_fact(crew, run)
    assert_nothing_left(given)


def test_row_03_chain_through_a_sync_parent_and_an_async_subflow(crew: Crew) -> None:
    """A chained exception fails the task, its async flow and the sync parent, root cause named; none crashed."""
    given = crew.carry_out(
        """
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
        def parent():
            server = HTTPServer(("127.0.0.1", 0), Busy)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            asyncio.run(child(f"http://127.0.0.1:{server.server_port}/"))
        """,
        "parent",
        env={"NO_PROXY": "*"},
    )
    run = given.end(within=1.0)
    child = crew.find("flow_runs", {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}})[0]
    child = crew.flow_run(child["id"]) or {}

    for one in (run, child, *crew.tasks(run["id"]), *crew.tasks(child["id"])):
        assert state_of(one) == ("FAILED", "Failed")
        exception = evidence_of(one)["exception"]
        assert exception["type"] == "flows.SyncNotStarted"
        assert [link["type"].rpartition(".")[2] for link in exception["chain"]] == [
            "SyncNotStarted",
            "HTTPError",
        ]
        assert exception["root_cause"]["message"] == "HTTP Error 409: Conflict"
        assert "409" in one["state"]["message"]
        assert "CRASHED" not in types_of(one)
    assert len(crew.tasks(child["id"])) == 1
    assert_fact(crew, run)
    assert_fact(crew, child)


@pytest.mark.parametrize(
    ("code", "told", "shown"), [("1", 1, "code 1"), ("'no input today'", "no input today", "no input today")]
)
def test_row_04_sys_exit_with_a_failure(crew: Crew, code: str, told: object, shown: str) -> None:
    """`sys.exit(1)` and `sys.exit("text")` fail the run, with the code or the text."""
    given = crew.carry_out(PRINTS_AND_DIES.format(modules="sys", end=f"sys.exit({code})"))
    run = given.end(within=1.0)

    assert state_of(run) == ("FAILED", "Failed")
    assert evidence_of(run)["exception"]["type"] == "SystemExit"
    assert evidence_of(run)["exception"]["exit_code"] == told
    assert shown in run["state"]["message"]
    assert_fact(crew, run)
    assert_nothing_left(given)


def test_row_05_sys_exit_0(crew: Crew) -> None:
    """`sys.exit(0)` completes the run, and the message says that it exited early."""
    given = crew.carry_out(PRINTS_AND_DIES.format(modules="sys", end="sys.exit(0)"))
    run = given.end(within=1.0)

    assert state_of(run) == ("COMPLETED", "Completed")
    assert "exited early" in run["state"]["message"]
    assert evidence_of(run)["exception"]["exit_code"] == 0
    assert_fact(crew, run)
    assert_nothing_left(given)


@pytest.mark.parametrize("start", ["warm", "fresh"])
def test_row_06_os_exit_1(crew: Crew, start: str) -> None:
    """`os._exit(1)` is Crashed: the exit code, and the last 20 lines of output."""
    given = crew.carry_out(PRINTS_AND_DIES.format(modules="os", end="os._exit(1)"), start=start)
    run = given.end(within=1.0)

    assert state_of(run) == ("CRASHED", "Crashed")
    assert evidence_of(run)["exit_code"] == 1
    assert evidence_of(run)["pid"] == given.header().pid
    assert "ended without reporting: exit code 1" in run["state"]["message"]
    assert_verdict(run)
    assert_last_lines(run)
    assert_nothing_left(given)


def test_row_07_os_exit_0(crew: Crew) -> None:
    """`os._exit(0)` is Crashed too: nothing says that the flow had finished."""
    given = crew.carry_out(PRINTS_AND_DIES.format(modules="os", end="os._exit(0)"))
    run = given.end(within=1.0)

    assert state_of(run) == ("CRASHED", "Crashed")
    assert evidence_of(run)["exit_code"] == 0
    assert "ended without reporting: exit code 0" in run["state"]["message"]
    assert_verdict(run)
    assert_last_lines(run)
    assert_nothing_left(given)


PRINTS_AND_WAITS = """
    import time
    from headrace import flow, task

    @task
    def stuck():
        time.sleep(600)  # the call

    @flow
    def child():
        stuck()

    @flow
    def main():
        for number in range(30):
            print("line", number)
        child()
"""


@pytest.mark.parametrize(
    ("ending", "found"),
    [
        ("os._exit(5)", {"exit_code": 5}),
        ("ctypes.string_at(1)", {"signal": "SIGSEGV"}),
        ("os.kill(os.getpid(), 9)", {"signal": "SIGKILL"}),
    ],
    ids=["exit", "fault", "kill"],
)
@pytest.mark.parametrize("place", ["import", "thread", "subflow"])
def test_rows_06_08_and_09_elsewhere(crew: Crew, ending: str, found: Json, place: str) -> None:
    """A process may also end while its module is imported, by another thread of it, or in a subflow."""
    bodies = {
        "import": f"{ending}\nmain = None",
        "thread": f"@flow\ndef main():\n    threading.Thread(target=lambda: {ending}).start()\n    time.sleep(600)",
        "subflow": f"@flow\ndef child():\n    {ending}\n\n@flow\ndef main():\n    child()",
    }
    head = "import ctypes\nimport os\nimport threading\nimport time\nfrom headrace import flow\n\nprint('last words')\n"
    given = crew.carry_out(head + bodies[place])
    run = given.end(within=1.0)

    assert state_of(run) == ("CRASHED", "Crashed")
    assert found.items() <= evidence_of(run).items()
    assert any("last words" in line for line in evidence_of(run)["last_output"])
    if "string_at" in ending:
        assert "flows.py" in evidence_of(run)["stack"]
    assert_verdict(run)
    assert_nothing_left(given)


def test_a_worker_tells_the_name_that_the_code_gave(crew: Crew) -> None:
    """A run is planned under a made-up name; its flow may have names of its own, and a reader has to match them."""
    run = crew.carry_out(
        """
        from headrace import flow

        @flow(flow_run_name="nightly-{number}")
        def main(number: int = 7):
            return number
        """
    )
    assert state_of(run.end(within=1.0)) == ("COMPLETED", "Completed")
    crew.worker.until_said("now called 'nightly-7', ended as Completed")


def test_last_words_after_more_output_than_is_told(crew: Crew) -> None:
    """A run that printed more than its log takes has its very last lines as evidence all the same."""
    run = crew.carry_out(
        """
        import os
        from headrace import flow

        @flow
        def main():
            line = "x" * 99
            for _ in range(120_000):
                print(line)
            print("last words", flush=True)
            os.kill(os.getpid(), 9)
        """,
        stream_output=False,
    )
    record = run.end(within=10.0)

    assert state_of(record) == ("CRASHED", "Crashed")
    assert evidence_of(record)["last_output"][-1] == "last words"
    assert len(evidence_of(record)["last_output"]) == 20


@pytest.mark.parametrize(
    "trap",
    [
        "atexit.register(os.abort)",
        "atexit.register(os._exit, 3)",
        "os.closerange(3, 4096)",
        "os.closerange(0, 3)",
    ],
    ids=["abort at exit", "exit at exit", "no descriptors", "no output"],
)
def test_row_01_returns_and_its_process_does_not(crew: Crew, trap: str) -> None:
    """What happens to the process after the flow has returned changes nothing of the state that it earned."""
    given = crew.carry_out(f"""
        import atexit
        import os
        from headrace import flow

        @flow
        def main():
            {trap}
    """)
    run = given.end(within=1.0)

    assert state_of(run) == ("COMPLETED", "Completed")
    assert_nothing_left(given)
    assert state_of(given.record()) == ("COMPLETED", "Completed")
    assert_fact(crew, given.record())


def test_row_08_sigkill(crew: Crew) -> None:
    """SIGKILL crashes all that was open: signal, OOM killer or not, peak memory, last lines, where it stood."""
    given = crew.carry_out(PRINTS_AND_WAITS)

    def is_sampled() -> bool:
        sample = read_sample(given.folder().path / "sample", 0)
        return sample is not None and "in stuck" in sample[0]

    until(is_sampled, "a sample of where the run stands", told=given.told)
    given.kill()
    run = given.end(within=1.0)

    child = crew.find("flow_runs", {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}})[0]
    everything = [
        run,
        crew.flow_run(child["id"]) or {},
        *crew.tasks(run["id"]),
        *crew.tasks(child["id"]),
    ]
    assert len(everything) == 4
    for one in everything:
        assert state_of(one) == ("CRASHED", "Crashed")
        assert one["state_history"][-1]["rank"] == "verdict"
        assert evidence_of(one)["signal"] == "SIGKILL"
    evidence = evidence_of(run)
    assert "Killed by SIGKILL" in run["state"]["message"]
    assert "OOM killer" in run["state"]["message"]
    assert evidence.get("oom_killed") is not True
    assert evidence["peak_memory_bytes"] > 5_000_000
    assert any(name.startswith("stuck") for name in evidence["open_tasks"])
    assert "in stuck\n    time.sleep(600)  # the call" in evidence["sampled_stack"]
    assert 0 <= evidence["sample_age_seconds"] < 10
    assert "stack" not in evidence
    assert_verdict(run)
    assert_last_lines(run)
    assert_nothing_left(given)


@pytest.mark.parametrize("start", ["warm", "fresh"])
def test_row_09_sigsegv(crew: Crew, start: str) -> None:
    """A fault in C is Crashed, with the signal and the Python stack at the fault."""
    given = crew.carry_out(PRINTS_AND_DIES.format(modules="ctypes", end="ctypes.string_at(1)"), start=start)
    run = given.end(within=1.0)

    assert state_of(run) == ("CRASHED", "Crashed")
    assert evidence_of(run)["signal"] == "SIGSEGV"
    assert "Segmentation fault" in evidence_of(run)["stack"]
    assert "in main" in evidence_of(run)["stack"]
    assert_verdict(run)
    assert_last_lines(run)
    assert_nothing_left(given)


GRACE_S = 1.0

TOLD_HEAD = """
    import asyncio
    import threading
    import time
    from headrace import flow, task

"""

TOLD_TO_END = {
    "sync": """
    @flow
    def main():
        try:
            print("ready")
            time.sleep(600)
        finally:
            print("cleaned up")
    """,
    "async": """
    @flow
    async def main():
        try:
            print("ready")
            await asyncio.sleep(600)
        finally:
            print("cleaned up")
    """,
    "async with a task": """
    @task
    async def long():
        try:
            print("ready")
            await asyncio.sleep(600)
        finally:
            print("cleaned up")

    @flow
    async def main():
        await asyncio.gather(long(), asyncio.sleep(600))
    """,
    "waiting for a submitted task": """
    over = threading.Event()

    @task
    def long():
        print("ready")
        over.wait(600)

    @flow
    def main():
        try:
            long.submit().result()
        finally:
            over.set()
            print("cleaned up")
    """,
}
"""Flows that clean up when they are told to end."""


@pytest.mark.parametrize("flow", TOLD_TO_END.values(), ids=TOLD_TO_END.keys())
def test_row_10_sigterm(crew: Crew, flow: str) -> None:
    """SIGTERM that no cancel asked for is Crashed, name Terminated; the flow may clean up first."""
    given = crew.carry_out(TOLD_HEAD + flow, grace_seconds=GRACE_S)
    given.until_said("ready")
    given.kill(signal.SIGTERM)
    run = given.end(within=1.0, patience=GRACE_S + 1.0)

    assert state_of(run) == ("CRASHED", "Terminated")
    assert evidence_of(run)["signal"] == "SIGTERM"
    assert "nobody had asked for a cancel" in run["state"]["message"]
    assert "Cancelling" not in history_of(run)
    for task in crew.tasks(run["id"]):  # Completed: the clean-up lets it end
        assert task["state_type"] in ("CRASHED", "CANCELLED", "COMPLETED")
    assert_nothing_left(given)
    assert "cleaned up" in crew.logs(run["id"])


def test_row_10_sigterm_before_the_engine_listens(crew: Crew) -> None:
    """A run that is told to end while its module is still being imported is Terminated, too."""
    given = crew.carry_out(
        """
        import time
        from headrace import flow

        print("importing")
        time.sleep(600)

        @flow
        def main():
            pass
        """,
        grace_seconds=GRACE_S,
    )
    given.until_said("importing")
    given.kill(signal.SIGTERM)
    run = given.end(within=1.0, patience=GRACE_S + 1.0)

    assert state_of(run) == ("CRASHED", "Terminated")
    assert evidence_of(run)["signal"] == "SIGTERM"
    assert_verdict(run)
    assert_nothing_left(given)


def test_row_11_sigabrt(crew: Crew) -> None:
    """`abort()` is Crashed, with the signal and the stack."""
    given = crew.carry_out(PRINTS_AND_DIES.format(modules="os", end="os.abort()"))
    run = given.end(within=1.0)

    assert state_of(run) == ("CRASHED", "Crashed")
    assert evidence_of(run)["signal"] == "SIGABRT"
    assert "in main" in evidence_of(run)["stack"]
    assert_verdict(run)
    assert_last_lines(run)
    assert_nothing_left(given)


def test_row_12_memory_error(crew: Crew) -> None:
    """A MemoryError fails the run and tells how much memory the process had taken."""
    given = crew.carry_out(PRINTS_AND_DIES.format(modules="sys", end="bytearray(sys.maxsize // 2)"))
    run = given.end(within=1.0)

    assert state_of(run) == ("FAILED", "Failed")
    assert evidence_of(run)["exception"]["type"] == "MemoryError"
    assert evidence_of(run)["peak_memory_bytes"] > 5_000_000
    assert_fact(crew, run)
    assert_nothing_left(given)


LIMIT_BYTES = 150_000_000


@pytest.mark.parametrize("setting", ["deployment", "pool"])
def test_row_13_memory_limit_passed_by_the_run_itself(crew: Crew, setting: str) -> None:
    """A run that takes more memory than it may is Crashed, OutOfMemory: the limit, the peak, which process."""
    source = """
        import time
        from headrace import flow

        @flow
        def main():
            for number in range(30):
                print("line", number)
            held = []
            while len(held) < 60:  # a machine must not suffer where the limit does not hold
                held.append(bytearray(b"x") * 10_000_000)
                time.sleep(0.01)
    """
    if setting == "deployment":
        given = crew.carry_out(source, memory_limit="150MB")
        run = given.end(within=2.0)
    else:
        with crew.pool_default(memory_limit=LIMIT_BYTES):
            given = crew.carry_out(source)
            run = given.end(within=2.0)

    assert state_of(run) == ("CRASHED", "OutOfMemory")
    evidence = evidence_of(run)
    assert evidence["memory_limit_bytes"] == LIMIT_BYTES
    assert evidence["memory_bytes"] > LIMIT_BYTES
    assert evidence["peak_memory_bytes"] >= evidence["memory_bytes"]
    assert f"pid {given.header().pid} with" in evidence["memory_process"]
    assert "the run's own process" in evidence["memory_process"]
    assert (evidence["killed_by"], evidence["signal"]) == ("headrace", "SIGKILL")
    assert "limit of 150.0 MB" in run["state"]["message"]
    assert_verdict(run)
    assert_last_lines(run)
    assert_nothing_left(given)


def test_row_13_memory_limit_passed_by_a_child(crew: Crew) -> None:
    """What the run's children take counts, too; the one that held the most is named, and all are ended."""
    given = crew.carry_out(
        """
        import subprocess
        import sys
        from headrace import flow

        HUNGRY = "import time; held = bytearray(b'x') * 400_000_000; time.sleep(600)  # the glutton"

        @flow
        def main():
            small = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            large = subprocess.Popen([sys.executable, "-c", HUNGRY], start_new_session=True)
            print("children", small.pid, large.pid)
            large.wait()
        """,
        memory_limit=LIMIT_BYTES,
    )
    small, large = (Process(int(pid)) for pid in given.until_said("children").split())
    run = given.end(within=2.0)

    assert state_of(run) == ("CRASHED", "OutOfMemory")
    evidence = evidence_of(run)
    assert evidence["memory_limit_bytes"] == LIMIT_BYTES
    assert evidence["memory_bytes"] > LIMIT_BYTES
    assert f"pid {large.pid} with" in evidence["memory_process"]
    assert "# the glutton" in evidence["memory_process"]
    assert_verdict(run)
    assert_nothing_left(given)
    assert not small.is_alive()
    assert not large.is_alive()


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
def test_row_14_odd_exceptions(crew: Crew, odd: str, shown: str, runner: str) -> None:
    """An exception that cannot be pickled, made again or shown fails its run as any other."""
    given = crew.carry_out(f"""
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
    """)
    run = given.end(within=1.0)

    for one in (run, crew.tasks(run["id"])[0]):
        assert state_of(one) == ("FAILED", "Failed")
        assert one["state"]["message"] == shown
        assert evidence_of(one)["exception"]["type"].rpartition(".")[2] == "Odd"
    assert_fact(crew, run)
    assert_nothing_left(given)


def test_row_15_message_of_5_mb(crew: Crew) -> None:
    """A message of 5 MB is cut, and its full length told."""
    given = crew.carry_out(PRINTS_AND_DIES.format(modules="os", end="raise ValueError('x' * 5_000_000)"))
    run = given.end(within=1.0)

    assert state_of(run) == ("FAILED", "Failed")
    assert "5000000 characters in all" in run["state"]["message"]
    assert len(run["state"]["message"]) < 100_000
    assert "5000000 characters in all" in evidence_of(run)["exception"]["message"]
    assert_fact(crew, run)
    assert_nothing_left(given)
