"""What memory a live run costs the host beyond the user's own code."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil

from .cancel import cancel, wait_for_pid
from .measure import Measurement, Row, Samples, private_home
from .side import PROGRAMS, Side
from .workers import Work, working

ROW = Row("memory of a live run beyond the user's own code: unique set size", "MB", 15)
_RUNS = 4
_SETTLED_S = 3.0
"""How long all have run when they are measured: imports are done, and the supervisor has turned."""


def take(side: Side) -> Samples:
    """Let some runs live side by side: each one's process and supervisor, less a plain script with the same function."""
    with private_home() as home, working(side, home) as work:
        script = _script(side, home / "pid-script")
        try:
            deployment = work.deploy("waits")
            told = [home / f"pid-{number}" for number in range(_RUNS)]
            runs = [work.create(deployment, told=str(path)) for path in told]
            processes = [psutil.Process(wait_for_pid(path)) for path in told]
            time.sleep(_SETTLED_S)
            own = _unique(psutil.Process(script.pid))
            values = [_unique(process) + _unique(process.parent()) - own for process in processes]
            _end(work, runs, processes)
        finally:
            script.kill()
            script.wait()
    return {ROW.title: [value / 1e6 for value in values]}


def _script(side: Side, told: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([side.python, str(PROGRAMS / "plain.py"), str(told)])
    wait_for_pid(told)
    return process


def _unique(process: psutil.Process | None) -> int:
    if process is None:
        raise RuntimeError("A run has no supervisor.")
    return int(process.memory_full_info().uss)


def _end(work: Work, runs: list[str], processes: list[psutil.Process]) -> None:
    for run in runs:
        cancel(work, run)
    left = psutil.wait_procs(processes, timeout=60)[1]
    if left:
        raise RuntimeError(f"{len(left)} runs were cancelled and have not ended.")
    for run in runs:
        work.wait_for(run, "CANCELLED")


MEASUREMENT = Measurement([ROW], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
