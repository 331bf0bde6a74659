"""What user code may do to its process, with the whole chain behind it: journal, companion, database."""

from __future__ import annotations

import pytest

from headrace.journal.reader import iterate
from tests.verdicts.house import House, evidence_of, state_of

LOGS = """
    from headrace import flow, get_run_logger, task
    import os, sys

    @task
    def step(number):
        get_run_logger().info("task %d", number)

    @flow
    def odd():
        logger = get_run_logger()
        logger.info("before")
        step(1)
        {odd}
        logger.info("after")
        step(2)

    odd()
    {then}
"""

ODD = {
    "closes every descriptor": "os.closerange(3, 256)",
    "closes really every descriptor": "os.closerange(3, 65536)",
    "opens its own in their place": (
        "os.closerange(3, 1024); mine = [open('mine_%d' % n, 'w') for n in range(700)]"
    ),
    "changes folder": "os.chdir('/')",
    "stays in a folder that is gone": (
        "import tempfile; gone = tempfile.mkdtemp(); os.chdir(gone); os.rmdir(gone)"
    ),
    "has no standard streams": "sys.stdout = sys.stderr = None",
    "closes its standard streams": "sys.stdout.close(); sys.stderr.close(); os.closerange(0, 3)",
    "patches the time": "import time; time.time = lambda: 0.0; time.time_ns = lambda: 0; time.monotonic = lambda: 0.0",
    "may open few files": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)); os.closerange(3, 1024)",
    "takes atexit's hooks away": "import atexit; atexit._clear()",
    "ignores SIGCHLD": "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "changes its environment": "os.environ.clear()",
    "changes its umask and title": "os.umask(0o777); sys.argv[:] = []",
    "raises the recursion limit's head": "sys.setrecursionlimit(120)",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_odd_code_loses_nothing(embedded: House, odd: str) -> None:
    """Whatever the flow does to its own process, all that it does and says is on record."""
    script = embedded.start(LOGS.format(odd=odd, then=""))
    run = embedded.end_of(script)

    assert state_of(run) == ("COMPLETED", "Completed"), script.told()
    assert [state_of(task) for task in embedded.tasks(run["id"])] == [("COMPLETED", "Completed")] * 2
    logged = [line for line in embedded.logs(run["id"]) if line in ("before", "task 1", "after", "task 2")]
    assert logged == ["before", "task 1", "after", "task 2"]
    mine = list(embedded.folder.glob("mine_*"))
    assert [file.name for file in mine if file.stat().st_size] == [], "not one byte of ours in a user's file"


@pytest.mark.parametrize(
    "then",
    [
        "import atexit; atexit.register(lambda: 1 / 0)",
        "os._exit(9)",
        "os.kill(os.getpid(), 9)",
        "import threading; threading.Thread(target=lambda: 1 / 0).start()",
    ],
    ids=["an atexit that raises", "os._exit", "SIGKILL", "a thread that raises"],
)
def test_what_happens_after_the_flow_does_not_touch_its_state(embedded: House, then: str) -> None:
    """A flow that has ended has ended, however its process does later."""
    run = embedded.end_of(embedded.start(LOGS.format(odd="", then=then)))

    assert state_of(run) == ("COMPLETED", "Completed")
    embedded.assert_never_crashed()


def test_a_hundred_megabytes_on_standard_output(embedded: House) -> None:
    """Output without `log_prints` is the script's own: the journal does not grow with it."""
    script = embedded.start("""
        import sys
        from headrace import flow

        @flow
        def loud():
            for _ in range(100):
                sys.stdout.write("x" * 999_999 + "\\n")

        loud()
    """)
    run = embedded.end_of(script)
    folder = script.folder()
    assert folder is not None

    assert state_of(run) == ("COMPLETED", "Completed")
    assert folder.journal.stat().st_size < 10_000


def test_ten_threads_log_at_once(house: House) -> None:
    """No line of ten threads is lost, doubled or torn."""
    script = house.start("""
        import threading
        from headrace import flow, get_run_logger, task

        @flow
        def noisy():
            logger = get_run_logger()

            def talk(me):
                for number in range(300):
                    logger.info("thread %d says %d %s", me, number, "x" * (number % 50))

            threads = [threading.Thread(target=talk, args=(me,)) for me in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        noisy()
    """)
    run = house.end_of(script)
    said = [line for line in house.logs(run["id"]) if line.startswith("thread ")]

    assert sorted(said) == sorted(
        f"thread {me} says {number} {'x' * (number % 50)}" for me in range(10) for number in range(300)
    )
    for me in range(10):
        own = [int(line.split()[3]) for line in said if line.startswith(f"thread {me} ")]
        assert own == sorted(own), "a thread's lines keep their order"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_inside_a_flow(embedded: House, method: str) -> None:
    """A pool of the standard library works in a flow, and its processes add nothing to the record."""
    script = embedded.start(f"""
        import multiprocessing
        from headrace import flow

        def square(x):
            return x * x

        @flow
        def pooled():
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                assert pool.map(square, range(20)) == [x * x for x in range(20)]

        if __name__ == "__main__":
            pooled()
    """)
    run = embedded.end_of(script)

    assert state_of(run) == ("COMPLETED", "Completed")
    assert len([*embedded.spool.folders(), *embedded.spool.shipped_folders()]) == 1
    embedded.assert_never_crashed()


def test_a_script_killed_while_ten_threads_write(embedded: House) -> None:
    """A script killed while ten threads write leaves a journal that is whole up to its last line."""
    script = embedded.start("""
        import threading, time
        from headrace import flow, get_run_logger

        @flow
        def writes():
            logger = get_run_logger()

            def talk():
                while True:
                    logger.info("x" * 5000)
                    time.sleep(0.02)  # else the journal is as long as this machine is slow

            for _ in range(10):
                threading.Thread(target=talk, daemon=True).start()
            print("ready", flush=True)
            threading.Event().wait()

        writes()
    """)
    script.until_said("ready")
    script.companion()
    folder = script.folder()
    assert folder is not None
    journal = embedded.folder / "journal"
    journal.hardlink_to(folder.journal)  # the companion moves its folder away as soon as all is shipped
    script.kill()
    run = embedded.end_of(script)
    found = [entry for _, entry in iterate(journal)]

    assert state_of(run) == ("CRASHED", "Crashed")
    assert evidence_of(run)["signal"] == "SIGKILL"
    assert len(found) > 10
    assert None not in found
