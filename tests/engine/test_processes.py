"""The journal survives what user code does to its process: each test is a script, its journals read afterwards."""

from __future__ import annotations

import sys

import pytest

from .conftest import Script, steps

ENDED_WELL = ["Pending", "Running", "Completed"]


@pytest.mark.parametrize(
    ("ending", "status"),
    [("raise ValueError('child')", 1), ("return 'child'", 0), ("sys.exit(7)", 7), ("os._exit(9)", 9)],
)
@pytest.mark.parametrize("level", ["flow", "subflow", "task", "async"])
def test_a_forked_child_never_speaks_for_the_run(
    ending: str, status: int, level: str, script: Script
) -> None:
    """Row 44 of the verdicts: it raises, returns or exits through the engine, and leaves no record."""
    script.run(
        f"""
        import asyncio, os, sys
        from headrace import flow, task, get_run_logger

        def body():
            pid = os.fork()
            if pid == 0:
                get_run_logger().warning("said by the child")
                extra(1)
                {ending}
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        @task
        def extra(x):
            return x

        @task
        def in_task():
            return body()

        @flow
        def child():
            return body()

        @flow
        async def in_async():
            return body()

        @flow(name="parent")
        def parent():
            extra(0)
            return {{"flow": body, "subflow": child, "task": in_task, "async": lambda: asyncio.run(in_async())}}[{level!r}]()

        found = parent()
        if found == "child":
            sys.exit(0)  # the child, which returned through the flow
        assert found == {status}, found
        """,
    )

    (journal,) = script.journals()
    assert journal.torn == journal.missing == 0
    assert all(steps(run) == ENDED_WELL for run in journal.runs.values())
    assert len(journal.runs) == (2 if level == "flow" else 3)


def test_a_flow_of_a_forked_child_has_a_journal_of_its_own(script: Script) -> None:
    """Not one record of it lies in the parent's."""
    script.run(
        """
        import os
        from headrace import flow

        @flow(name="in-child")
        def in_child():
            return 1

        @flow(name="in-parent")
        def in_parent():
            pid = os.fork()
            if pid == 0:
                in_child()
                os._exit(0)
            os.waitpid(pid, 0)

        in_parent()
        """
    )

    names = sorted([run.entry.flow for run in journal.runs.values()] for journal in script.journals())
    assert names == [["in-child"], ["in-parent"]]


def test_a_forked_child_can_submit_tasks_of_its_own(script: Script) -> None:
    """The runner's threads are not in the child; it gets new ones, and does not hang."""
    script.run(
        """
        import os
        from headrace import flow, task

        @task
        def inc(x):
            return x + 1

        @flow(name="f")
        def f():
            assert inc.submit(1).result() == 2
            pid = os.fork()
            if pid == 0:
                os._exit(0 if inc.submit(2).result(timeout=10) == 3 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

        f()
        """
    )

    assert [name for name in script.runs() if name.startswith("inc")] == ["inc-0"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_leaves_the_journal_whole(method: str, script: Script) -> None:
    """Pools of either kind, in the middle of a flow, log and return as they like."""
    script.run(
        f"""
        import multiprocessing
        from headrace import flow, task, get_run_logger

        def work(n):
            try:
                get_run_logger().info("from a worker")
            except RuntimeError:
                pass
            return n * 2

        @task
        def total(numbers):
            return sum(numbers)

        @flow(name="f")
        def f():
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                return total(pool.map(work, range(100)))

        if __name__ == "__main__":
            assert f() == 9900
        """
    )

    assert {name.split("-")[0]: steps(run) for name, run in script.runs().items() if "total" in name} == {
        "total": ENDED_WELL
    }
    assert all(steps(run) == ENDED_WELL for run in script.runs().values())


def test_descriptors_closed_and_reused_get_no_byte_of_ours(script: Script) -> None:
    """``os.closerange`` takes the journal's descriptor; files that come in its place stay the user's."""
    script.run(
        """
        import os, resource
        from headrace import flow, task, get_run_logger

        @task
        def t(n):
            get_run_logger().info("line %s", n)
            return n

        @flow(name="f")
        def f():
            t(0)
            os.closerange(3, 4096)
            files = [open(f"mine-{n}", "wb", buffering=0) for n in range(600)]
            t(1)
            os.closerange(3, 256)
            t(2)
            for file in files:
                try:
                    file.close()
                except OSError:
                    pass
            return [os.path.getsize(f"mine-{n}") for n in range(600)]

        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
        assert not any(f())
        """
    )

    runs = script.runs()
    assert [steps(runs[f"t-{n}"]) for n in range(3)] == [ENDED_WELL] * 3
    assert all(steps(run) == ENDED_WELL for run in runs.values())


def test_other_folders_streams_and_clocks_do_not_matter(script: Script) -> None:
    """``os.chdir`` with a removed folder, ``sys.stdout = None``, a stepped ``time.time``, few descriptors."""
    script.run(
        """
        import os, resource, shutil, sys, time
        from headrace import flow, task

        @task(log_prints=True)
        def t(n):
            print("printed", n)
            return n

        @flow(name="f")
        def f():
            t(0)
            os.mkdir("gone")
            os.chdir("gone")
            os.rmdir(os.getcwd())
            sys.stdout = sys.stderr = None
            t(1)
            time.time = lambda: 5.0
            time.monotonic = lambda: 1.0
            time.time_ns = lambda: 5
            t(2)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
            t(3)

        f()
        """,
        HEADRACE_HOME="relative-home",
    )

    script.home = script.folder / "relative-home"
    runs = script.runs()
    assert len(runs) == 5
    assert all(steps(run) == ENDED_WELL for run in runs.values())
    starts = [runs[f"t-{n}"].start for n in range(4)]
    assert starts == sorted(starts)  # type: ignore[type-var]
    assert all(start > 1_700_000_000_000_000 for start in starts)  # type: ignore[operator]


def test_ten_threads_logging_lose_and_tear_nothing(script: Script) -> None:
    """Records of threads do not mix."""
    from headrace.journal.reader import iterate
    from headrace.journal.spool import Spool
    from headrace.model import entries

    script.run(
        """
        from headrace import flow, task, get_run_logger

        @task
        def talk(n):
            logger = get_run_logger()
            for line in range(500):
                logger.info("%s %s %s", n, line, "ü" * (line % 50))

        @flow(name="f")
        def f():
            talk.map(range(10)).wait()

        f()
        """,
        HEADRACE_LOGGING_CONSOLE="false",
    )

    (folder,) = Spool(script.home).folders()
    lines = [entry.message.split() for _, entry in iterate(folder.journal) if isinstance(entry, entries.Log)]
    for n in range(10):
        assert [int(words[1]) for words in lines if words[0] == str(n)] == list(range(500))
    assert all(steps(run) == ENDED_WELL for run in script.runs().values())


def test_an_atexit_that_raises_and_a_thread_left_behind_do_not_hold_the_end_up(script: Script) -> None:
    """Row 34 of the verdicts: the run ended when its function did."""
    done = script.run(
        """
        import atexit, threading
        from headrace import flow, task

        def broken():
            raise RuntimeError("in atexit")

        atexit.register(broken)
        gate = threading.Event()

        @flow(name="f")
        def f():
            threading.Thread(target=gate.wait, args=(20,)).start()

        f()
        gate.set()
        """,
        check=False,
    )

    assert "in atexit" in done.stderr
    assert all(steps(run) == ENDED_WELL for run in script.runs().values())


@pytest.mark.parametrize("where", ["flow", "async", "task", "thread"])
def test_sigterm_ends_the_run_with_its_cleanup(where: str, script: Script) -> None:
    """Crashed, named Terminated, at every level; ``finally`` runs, and the process dies by the signal."""
    done = script.run(
        f"""
        import asyncio, os, signal, threading
        from headrace import flow, task

        def stop():
            os.kill(os.getpid(), signal.SIGTERM)

        @task(name="t")
        def t():
            stop()
            threading.Event().wait(20)

        @flow(name="f")
        async def af():
            try:
                stop()
                await asyncio.sleep(20)
            finally:
                print("cleaned up", flush=True)

        @flow(name="f")
        def f():
            try:
                if {where!r} == "task":
                    t()
                elif {where!r} == "thread":
                    t.submit().result()
                else:
                    stop()
            except Exception:
                pass
            finally:
                print("cleaned up", flush=True)

        asyncio.run(af()) if {where!r} == "async" else f()
        """,
        check=False,
    )

    assert done.returncode == -15
    assert "cleaned up" in done.stdout
    runs = script.runs()
    assert {run.state.name for run in runs.values() if run.is_flow and run.state} == {"Terminated"}
    assert all(not run.is_open for run in runs.values())


@pytest.mark.parametrize("where", ["sync", "async"])
def test_ctrl_c_at_a_terminal_interrupts_every_level(where: str, script: Script) -> None:
    """Row 19 of the verdicts, with a real SIGINT."""
    done = script.run(
        f"""
        import asyncio, os, signal, threading
        from headrace import flow, task

        @task(name="t")
        def t():
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(20)

        @task(name="t")
        async def at():
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(20)

        @flow(name="f")
        def f():
            t()

        @flow(name="f")
        async def af():
            await at()

        asyncio.run(af()) if {where!r} == "async" else f()
        """,
        check=False,
    )

    assert done.returncode in (-2, 130, 1)
    assert "KeyboardInterrupt" in done.stderr
    if where == "sync" or sys.version_info >= (
        3,
        11,
    ):  # before that asyncio does not tell a run who cancelled it
        states = {run.state.name for run in script.runs().values() if run.state}
        assert states == {"Interrupted"}


def test_the_callers_signal_handlers_are_put_back(script: Script) -> None:
    """After a flow the process is as it was."""
    script.run(
        """
        import signal, threading, sys
        from headrace import flow

        @flow(timeout_seconds=30)
        def f():
            return signal.getsignal(signal.SIGTERM)

        assert f() is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert f() is signal.SIG_IGN
        """
    )
