"""The flows of the soak: each writes to the disk what it is about to do, so that its state can be judged by that."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from headrace import flow, task


class Diary:
    """What one run did: a line a step, on the disk before the step is taken."""

    def __init__(self, folder: str, number: int) -> None:
        self._path = Path(folder) / str(number)

    def write(self, *words: object) -> None:
        """Write one line: what is done now, when, and by which process."""
        line = " ".join(map(str, (time.monotonic(), os.getpid(), *words)))
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, line.encode() + b"\n")
        os.close(fd)


def _die(diary: Diary, how: str) -> None:
    diary.write("dies", how)
    if how == "vanishes":
        os._exit(3)
    if how == "faults":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


@task
def step(number: int) -> int:
    """Do nothing, on record."""
    return number


@flow
def child_that_raises() -> None:
    """Fail, for a parent that does not mind."""
    raise ValueError("from the child")


def _end(diary: Diary, end: str) -> None:
    diary.write("begins", os.environ.get("HEADRACE_JOURNAL", ""))
    for number in range(3):
        step(number)
    if end in ("killed", "vanishes", "faults"):
        _die(diary, end)
    elif end == "raises":
        diary.write("raises")
        raise ValueError("as it was to be")
    elif end == "exits":
        diary.write("raises")
        sys.exit(1)
    elif end == "sleeps":
        diary.write("sleeps")
        time.sleep(600)
    elif end in ("waits", "ignores"):
        if end == "ignores":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        diary.write("waits")
        while True:
            time.sleep(0.5)
    elif end == "leaves a child":
        code = "import time; time.sleep(600)"
        diary.write("child", subprocess.Popen([sys.executable, "-c", code]).pid)
    elif end == "floods":
        for number in range(5000):
            print("flood", number)
    elif end == "catches":
        try:
            child_that_raises()
        except ValueError:
            diary.write("caught")
    elif end == "takes long":
        time.sleep(4.0)
    diary.write("returns")


@flow
def main(folder: str, number: int, end: str) -> None:
    """End in the way that is asked for."""
    _end(Diary(folder, number), end)


@flow(timeout_seconds=1.0)
def timed(folder: str, number: int, end: str) -> None:
    """End in the way that is asked for, within a second."""
    _end(Diary(folder, number), end)


@flow(retries=2, retry_delay_seconds=0.1)
def tried(folder: str, number: int, end: str) -> None:
    """Try again until the ends that are asked for (joined by a comma) are used up."""
    ends = end.split(",")
    path = Path(folder) / str(number)
    begun = path.read_text(encoding="ascii").count(" begins ") if path.exists() else 0
    _end(Diary(folder, number), ends[min(begun, len(ends) - 1)])
