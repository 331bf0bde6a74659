"""The tree of processes below a run: found, weighed and ended, with real processes."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.model.marks import JOURNAL as MARK
from headrace.supervisor import memory, tree
from headrace.supervisor.evidence import Vitals
from headrace.supervisor.memory import MemoryLimit
from headrace.supervisor.processes import descendants, describe

MB = 1_000_000

FAMILY = """
import os, subprocess, sys, threading, time
sleep = [sys.executable, "-c", "import time; print(flush=True); time.sleep(30)"]
child = subprocess.Popen([sys.executable, "-c", f"import subprocess, time; subprocess.Popen({sleep!r}); time.sleep(30)"])
thread = threading.Thread(target=lambda: subprocess.Popen(sleep))
thread.start()
thread.join()
time.sleep(30)
"""
"""A child, its child, and one that a thread started, which has ended since."""

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
pytestmark = needs_proc


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)


@contextlib.contextmanager
def python(code: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python code; whatever is left of it is ended."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        for pid in [*tree.below(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_children_of_children_and_of_threads_are_found() -> None:
    """Both ways of looking find the same, parents before children."""
    with python(FAMILY) as root:
        until(lambda: len(tree.below(root.pid)) == 3)
        found = tree.below(root.pid)
        assert sorted(tree._below_by_parents(root.pid)) == sorted(found)
        assert root.pid not in found


def test_killing_leaves_nobody() -> None:
    """The whole tree is ended, and told by command line."""
    with python(FAMILY) as root:
        until(lambda: len(tree.below(root.pid)) == 3)
        pids = {root.pid, *tree.below(root.pid)}
        killed = tree.kill_tree(root.pid)
        assert {process.pid for process in killed} == pids
        assert any("subprocess.Popen" in process.command for process in killed)
        until(lambda: all(describe(pid) is None for pid in pids))


def test_killing_finds_by_mark_what_was_born_elsewhere_and_spares_whom_it_is_told_to() -> None:
    """A process whose parent has gone is no descendant any more, but carries the mark."""
    orphan = f"import subprocess, sys; subprocess.Popen({[sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(30)']!r})"
    with (
        python(orphan, env={**os.environ, MARK: "mark-of-a-test"}, start_new_session=True) as gone,
        python("import time; time.sleep(30)") as spared,
    ):
        gone.wait()
        killed = tree.kill_tree(spared.pid, journal="mark-of-a-test", spare=[spared.pid])
        assert [("time.sleep" in process.command) for process in killed] == [True]
        assert spared.poll() is None


def test_killing_ends_children_that_are_started_meanwhile() -> None:
    """A process that starts others as fast as it can does not get away, nor does any of them."""
    # Bounded in every way: at most 2,000 children, which start nobody and end by themselves.
    storm = (
        "import os, time\nprint(1, flush=True)\nfor _ in range(2000):\n"
        "    if os.fork() == 0:\n        time.sleep(20)\n        os._exit(0)\n    time.sleep(0.001)\n"
        "time.sleep(20)"
    )
    mark = f"storm-{os.getpid()}"
    with python(storm, env={**os.environ, MARK: mark}) as root:
        until(lambda: len(tree.below(root.pid)) > 10)
        tree.kill_tree(root.pid)
        assert descendants(mark, apart_from=0) == []


def test_a_process_over_its_limit_is_named_with_what_it_held() -> None:
    """The sum counts, and the largest is told."""
    hungry = "import time; data = bytearray(b'x') * 60_000_000; print('full', flush=True); time.sleep(30)"
    parent = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {hungry!r}]); time.sleep(30)"
    )
    with python(parent) as root:
        assert root.stdout is not None
        assert root.stdout.readline() == b"full\n"
        (child,) = tree.below(root.pid)
        assert MemoryLimit(2000 * MB, root.pid).over() is None
        limit = MemoryLimit(50 * MB, root.pid)
        excess = limit.over()
        assert excess is not None
        assert (excess.limit_bytes, excess.pid) == (50 * MB, child)
        assert 60 * MB < excess.held_bytes <= excess.total_bytes < 120 * MB
        assert limit.peak_bytes == excess.total_bytes
        assert "data = bytearray" in excess.command
        below = MemoryLimit(50 * MB, root.pid, counts_root=False).over()
        assert below is not None
        assert below.pid == child


def test_memory_that_processes_share_counts_once() -> None:
    """Forked workers hold the pages of their parent: five times 60 MB are 60 MB."""
    code = (
        "import os, time\ndata = bytearray(b'x') * 60_000_000\n"
        "for _ in range(4):\n    if os.fork() == 0: os.write(1, b'up\\n'); time.sleep(30); os._exit(0)\n"
        "time.sleep(30)"
    )
    with python(code) as root:
        assert root.stdout is not None
        for _ in range(4):
            assert root.stdout.readline() == b"up\n"
        limit = MemoryLimit(150 * MB, root.pid)
        assert sum(tree.resident_bytes(pid) for pid in [root.pid, *tree.below(root.pid)]) > 300 * MB
        assert limit.over() is None
        assert 60 * MB < limit.peak_bytes < 150 * MB


def test_the_exact_count_is_rationed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take long for a large process, so it may not be made at every look."""
    counted: list[int] = []

    def count(pid: int) -> int:
        counted.append(pid)
        time.sleep(0.05)
        return 0

    monkeypatch.setattr(memory.tree, "proportional_bytes", count)
    with python(
        "print('up', flush=True); import time; time.sleep(30)"
    ) as root:  # one without children, as we may not be
        assert root.stdout is not None
        assert root.stdout.readline() == b"up\n"
        limit = MemoryLimit(1, root.pid)
        for _ in range(10):
            assert limit.over() is None
        assert counted == [root.pid]


def test_where_shares_cannot_be_read_all_of_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that cannot be checked exactly is kept all the same."""
    monkeypatch.setattr(memory.tree, "proportional_bytes", lambda pid: None)
    assert MemoryLimit(1, os.getpid()).over() is not None


def test_a_process_that_is_gone_holds_nothing() -> None:
    """Nothing is raised for what ends between two looks."""
    with python("pass") as gone:
        gone.wait()
    assert tree.resident_bytes(gone.pid) == 0
    assert tree.proportional_bytes(gone.pid) is None
    assert tree.below(gone.pid) == []
    assert MemoryLimit(1, gone.pid).over() is None
    assert tree.kill_tree(gone.pid) == []


def test_an_oom_kill_that_the_process_survived_is_not_blamed_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came before two looks at the living process was not its end; what came since may be: it dies for a while."""
    counter = tmp_path / "memory.events.local"
    counter.write_text("oom_kill 3\n")
    (tmp_path / "memory.peak").write_text("100\n")
    (tmp_path / "memory.max").write_text("900\n")
    monkeypatch.setattr("headrace.journal.cgroup.oom_counter", lambda pid="self": counter)
    with python("import time; time.sleep(30)") as process:
        vitals = Vitals(process.pid, 3)
        assert vitals.cgroup_counts() == {"cgroup_limit_bytes": 900}
        counter.write_text("oom_kill 4\n")
        vitals.sample()
        assert vitals.oom_killed() is True  # the kernel counts first, and takes the process apart afterwards
        vitals.sample()
        assert vitals.oom_killed() is False  # it lives on, so another one was killed
        process.kill()
        process.wait()
        counter.write_text("oom_kill 5\n")
        (tmp_path / "memory.peak").write_text("800\n")
        vitals.sample()
    assert vitals.oom_killed() is True
    assert vitals.cgroup_counts() == {
        "cgroup_oom_kills": 2,
        "cgroup_peak_bytes": 800,
        "cgroup_limit_bytes": 900,
    }
    assert (vitals.peak_memory_bytes or 0) >= mmap.PAGESIZE
