"""From the request to cancel a run until its process is gone."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from .measure import Measurement, Row, Samples, private_home
from .side import Side
from .workers import Work, working

ROW = Row("cancel asked → process gone, of a flow that sleeps", "ms", 500)
_REPETITIONS, _LONGEST_S = 15, 60.0


def take(side: Side) -> Samples:
    """Cancel a run some moments after it began; the first repetition warms up."""
    with private_home() as home, working(side, home) as work:
        deployment = work.deploy("waits")
        told = [home / f"pid-{number}" for number in range(_REPETITIONS + 1)]
        return {ROW.title: [_take_one(work, deployment, path) * 1e3 for path in told][1:]}


def _take_one(work: Work, deployment: str, told: Path) -> float:
    run = work.create(deployment, told=str(told))
    process = os.pidfd_open(wait_for_pid(told))
    try:
        work.wait_for(run, "RUNNING")
        begin = time.perf_counter()
        cancel(work, run)
        if not select.select([process], [], [], _LONGEST_S)[0]:
            raise RuntimeError(f"The process was still there {_LONGEST_S:g} s after its run was cancelled.")
        seconds = time.perf_counter() - begin
    finally:
        os.close(process)
    work.wait_for(run, "CANCELLED")
    return seconds


def cancel(work: Work, run: str) -> None:
    """Ask that a run ends."""
    work.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})


def wait_for_pid(told: Path) -> int:
    """Return the pid that a flow tells in a file once it runs."""
    until = time.monotonic() + _LONGEST_S
    while not told.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"No flow began within {_LONGEST_S:g} s.")
        time.sleep(0.005)
    return int(told.read_text(encoding="ascii"))


MEASUREMENT = Measurement([ROW], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
