"""The flow of the fault tests: it writes to the disk what it is about to do, so that all of it can be counted later."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from headrace import flow, get_run_logger, runtime, task

FORGOTTEN_S = 120.0
"""After so long a run that nobody cancels ends all the same: its test has failed."""


class Diary:
    """What one run did: a line a step, on the disk before the step is taken."""

    def __init__(self, folder: str, number: int) -> None:
        self._path = Path(folder) / str(number)

    def write(self, *words: object) -> None:
        """Write one line: what is done now, and when."""
        line = " ".join(map(str, (time.monotonic(), *words)))
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line.encode() + b"\n")
        os.close(fd)


@task
def step(diary: Diary, number: int) -> None:
    """Say one line."""
    diary.write("says", f"task-{number}")
    get_run_logger().info("said task-%d", number)


@flow
def main(folder: str, number: int, end: str, steps: int = 24, pace_s: float = 0.03) -> None:
    """Say a line a step, run a task every third step, and end in the way that is asked for."""
    diary = Diary(folder, number)
    diary.write("begins", runtime.flow_run.id, os.getpid())
    logger = get_run_logger()
    for count in range(1, steps + 1):
        diary.write("says", f"line-{count}")
        logger.info("said line-%d", count)
        if count % 3 == 0:
            diary.write("task", count)
            step(diary, count)
        time.sleep(pace_s)
    if end == "raises":
        diary.write("raises")
        raise ValueError("as it was to be")
    if end == "dies":
        diary.write("dies")
        os.kill(os.getpid(), signal.SIGKILL)
    diary.write("waits" if end == "waits" else "returns")
    until = time.monotonic() + FORGOTTEN_S
    while end == "waits" and time.monotonic() < until:
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
