"""The sampler tells where a process stood, is in nobody's way, and looks for the supervisor."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.engine import sampler
from headrace.journal.sample import read_sample
from headrace.journal.spool import Folder

HEAD = """
import os, sys, threading, time, warnings
warnings.simplefilter("error")
counts = []
if sys.platform == "linux":  # hooks run last registered first: this one sees what the fork sees
    os.register_at_fork(before=lambda: counts.append(len(os.listdir("/proc/self/task"))))
from pathlib import Path
from headrace.engine import sampler
from headrace.journal.spool import Folder
sampler.PERIOD_S = 0.05
class Recorder:
    folder = Folder(Path(sys.argv[1]))
    looked = 0
    now = staticmethod(lambda: time.time_ns() // 1000)
    def ensure_supervised(self):
        self.looked += 1
    def wait_for_looks(self, number):
        until = time.monotonic() + 15
        before = self.looked
        while self.looked < before + number:
            assert time.monotonic() < until, "nobody looked"
            time.sleep(0.01)
recorder = Recorder()
"""

Script = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """Start Python code that begins with a recorder; the folder is its first argument."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text(HEAD + textwrap.dedent(code))
        process = subprocess.Popen(
            [sys.executable, str(path), str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def sampled(folder: Path, *words: str) -> str:
    """Wait until the sample holds some words."""
    deadline = time.monotonic() + 15
    while True:
        found = read_sample(folder / "sample", time.time_ns() // 1000)
        if found is not None and all(word in found[0] for word in words):
            return found[0]
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_a_killed_process_leaves_where_its_threads_stood(script: Script, tmp_path: Path) -> None:
    """The main thread comes first, with its lines of code; threads that only wait for work are left out."""
    process = script(
        """
        from concurrent.futures import ThreadPoolExecutor
        def work():
            time.sleep(30)  # in the pool
        def wait_here():
            time.sleep(30)  # in the flow
        pool = ThreadPoolExecutor(2, thread_name_prefix="pool")
        pool.submit(int).result()
        pool.submit(work)
        threading.Thread(target=threading.Event().wait, name="idle", daemon=True).start()
        sampler.start(recorder)
        wait_here()
        """
    )
    sampled(tmp_path, "in wait_here", "in work")
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = read_sample(tmp_path / "sample", time.time_ns() // 1000)
    assert found is not None
    text, age = found
    assert text.startswith("Main thread")
    assert "time.sleep(30)  # in the flow" in text
    assert "time.sleep(30)  # in the pool" in text
    assert "Thread pool_0" in text
    assert "idle" not in text
    assert 0 <= age < 10


def test_coroutines_that_wait_are_told(script: Script, tmp_path: Path) -> None:
    """A loop's own thread stands in select; what matters is what its tasks wait for."""
    script(
        """
        import asyncio
        async def fetch():
            await asyncio.sleep(30)
        async def flow():
            await asyncio.gather(asyncio.create_task(fetch(), name="page-1"), fetch())
        sampler.start(recorder)
        asyncio.run(flow())
        """
    )
    text = sampled(tmp_path, "asyncio task page-1", "in fetch", "await asyncio.gather")
    assert text.startswith("Main thread")


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_forks_meet_one_thread_only_and_sampling_goes_on(script: Script) -> None:
    """At a fork the kernel knows of no second thread (Python 3.12 warns of one), and the child has none."""
    process = script(
        """
        sampler.start(recorder)
        recorder.wait_for_looks(1)
        assert len(os.listdir("/proc/self/task")) == 2
        assert threading.enumerate() == [threading.main_thread()]
        for _ in range(100):
            pid = os.fork()
            if pid == 0:
                os._exit(len(os.listdir("/proc/self/task")) if sampler._current is None else 99)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        recorder.wait_for_looks(3)
        sampler.stop()
        sampler.stop()
        assert len(os.listdir("/proc/self/task")) == 1
        print(set(counts), len(counts))
        """
    )
    assert process.communicate(timeout=45)[0] == "{1} 100\n"


def test_not_one_byte_lands_in_a_file_of_the_users(script: Script, tmp_path: Path) -> None:
    """User code may close every descriptor and open files of its own under the same numbers."""
    process = script(
        """
        sampler.start(recorder)
        recorder.wait_for_looks(1)
        number = sampler._current._file._fd
        os.closerange(3, number + 1)
        mine = os.open(sys.argv[1] + "/mine", os.O_RDWR | os.O_CREAT)
        os.dup2(mine, number)
        os.pwrite(number, b"user", 0)
        recorder.wait_for_looks(3)
        sampler.stop()
        print(os.pread(number, 100, 0).decode(), sampler._current)
        """
    )
    assert process.communicate(timeout=30)[0] == "user None\n"
    assert read_sample(tmp_path / "sample", 0) is not None


def test_a_deep_stack_is_cut() -> None:
    """Innermost calls are what matters, and the file stays small."""

    def deep(levels: int) -> str:
        return deep(levels - 1) if levels else sampler.stacks()

    text = deep(500)
    assert "calls further out are left out" in text
    assert 10 < text.count(", in deep") < 100
    assert len(text) < 20_000


def test_recorders_without_a_folder_are_not_sampled() -> None:
    """A process whose runs are not recorded has nothing to look after."""

    class Mute:
        folder: Folder | None = None

        @staticmethod
        def now() -> int:
            return 0

        def ensure_supervised(self) -> None:
            raise AssertionError("nobody may ask")

    sampler.start(Mute())
    assert sampler._current is None
    sampler.stop()


def test_a_sample_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """No file, an empty one, or nonsense."""
    path = tmp_path / "sample"
    assert read_sample(path, 0) is None
    for data in (b"", b"nonsense", b"1 2 3\nx", b"%020d %010d\n" % (1, 0)):
        path.write_bytes(data)
        assert read_sample(path, 0) is None
    path.write_bytes(b"%020d %010d\nwhole, and a rest" % (1_000_000, 5))
    assert read_sample(path, 3_500_000) == ("whole", 2.5)
