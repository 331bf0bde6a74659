"""Thirty runs created at once, until one worker has carried out all of them."""

from __future__ import annotations

import time

from .measure import Measurement, Row, Samples, private_home
from .side import Side
from .workers import Work, working

RUNS = 30
ROW = Row(f"{RUNS} runs created at once, one worker, until all are Completed", "s", 3)
_REPETITIONS, _LONGEST_S = 5, 120.0


def take(side: Side) -> Samples:
    """Create the runs over one connection, which is part of the time; the first repetition warms up."""
    with private_home() as home, working(side, home) as work:
        deployment = work.deploy("trivial")
        return {ROW.title: [_take_one(work, deployment) for _ in range(_REPETITIONS + 1)][1:]}


def _take_one(work: Work, deployment: str) -> float:
    begin = time.perf_counter()
    runs = [work.create(deployment) for _ in range(RUNS)]
    wanted = {"flow_runs": {"id": {"any_": runs}, "state": {"type": {"any_": ["COMPLETED"]}}}}
    while (done := work.ask("POST", "/flow_runs/count", wanted)) < RUNS:
        if time.perf_counter() - begin > _LONGEST_S:
            raise RuntimeError(f"{done} of {RUNS} runs were Completed after {_LONGEST_S:g} s.")
        time.sleep(0.02)  # how finely it is timed; to ask all the time would slow it
    return time.perf_counter() - begin


MEASUREMENT = Measurement([ROW], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
