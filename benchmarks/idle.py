"""What a server and a worker cost while nothing is to be done, with 100 deployments, each with a schedule."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from .measure import Measurement, Row, Samples, private_home
from .side import Side
from .workers import Work, working

DEPLOYMENTS = 100
STATEMENTS = Row(
    "idle server, one worker, 100 deployments: SQL statements a second, on SQLite", "a second", 5
)
WRITES = Row("the same: transactions a second that write", "a second", 0.2)
MEMORY = Row("idle worker: memory, with its template process", "MB", 60)
CPU = Row("idle worker: processor time over 60 s, with its template process", "s", 0.3)

WINDOW_S = 60.0
_SETTLED_S = 12.0
"""After the last deployment is made: the scheduler has planned, every loop has turned, and imports are done."""


class _Now(NamedTuple):
    at: float
    reads: int
    writes: int
    transactions: int
    cpu: float


def take(side: Side) -> Samples:
    """Look at a server that counts its statements, and at its worker, before and after a minute of silence."""
    with private_home() as home:
        counts = home / "counts"
        with working(side, home, side.program("counted_server", counts)) as work:
            _deploy(work)
            processes = [psutil.Process(work.worker.pid), *psutil.Process(work.worker.pid).children()]
            time.sleep(_SETTLED_S)
            first = _look(counts, processes)
            time.sleep(WINDOW_S)
            last = _look(counts, processes)
            memory = sum(process.memory_full_info().pss for process in processes)
    seconds = last.at - first.at
    statements = last.reads - first.reads + last.writes - first.writes
    return {
        STATEMENTS.title: [statements / seconds],
        WRITES.title: [(last.transactions - first.transactions) / seconds],
        MEMORY.title: [memory / 1e6],
        CPU.title: [(last.cpu - first.cpu) * 60 / seconds],
    }


def _deploy(work: Work) -> None:
    """Make the deployments, and see that their runs are planned; none is due for a long time."""
    for number in range(DEPLOYMENTS):
        rule = {"schedule": {"cron": f"{number % 60} 3 1 1 *", "timezone": "Europe/Zurich"}}
        work.deploy("trivial", f"measured-{number}", schedules=[rule])
    until = time.monotonic() + 60
    while work.ask("POST", "/flow_runs/count", {}) < DEPLOYMENTS:
        if time.monotonic() > until:
            raise RuntimeError("The scheduler has not planned the runs of the deployments within a minute.")
        time.sleep(0.05)


def _look(counts: Path, processes: list[psutil.Process]) -> _Now:
    reads, writes, transactions = struct.unpack("<3q", counts.read_bytes())
    cpu = sum(sum(process.cpu_times()[:2]) for process in processes)
    return _Now(time.monotonic(), reads, writes, transactions, cpu)


MEASUREMENT = Measurement([STATEMENTS, WRITES, MEMORY, CPU], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
