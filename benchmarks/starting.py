"""From the making of a deployed run until it runs: warm and fresh, by its own states and as a client sees it."""

from __future__ import annotations

import time

from .measure import Measurement, Row, Samples, private_home
from .side import Side
from .workers import Work, working

WARM = Row("a deployed run: created → Running, `start: warm`, by the times of its states", "ms", 100)
WORST = Row("the same, the slowest of 30", "ms", 250)
SEEN = Row("the same, as a client sees it that asks every 5 ms", "ms", 100)
FRESH = Row("a deployed run: created → Running, `start: fresh`", "ms", 600)
_RUNS = {False: 30, True: 5}
_FRESH_RUNS = 10
_WARM_UP = {False: 5, True: 1}


def take(side: Side) -> Samples:
    """Create runs one after the other, each when the one before has ended; some before, not counted, warm up."""
    samples: Samples = {row.title: [] for row in (WARM, WORST, SEEN, FRESH)}
    with private_home() as home, working(side, home) as work:
        deployment = work.deploy("trivial")
        for number in range(_WARM_UP[side.is_peer] + _RUNS[side.is_peer]):
            told, seen = _start_one(work, deployment)
            if number >= _WARM_UP[side.is_peer]:
                samples[WARM.title].append(told * 1e3)
                samples[SEEN.title].append(seen * 1e3)
        if side.is_peer:  # it has one way to start, which is a fresh one
            samples[FRESH.title] = samples[WARM.title]
        else:
            samples[WORST.title].append(max(samples[WARM.title]))
            deployment = work.deploy("trivial", "fresh", job_variables={"start": "fresh"})
            told_all = [_start_one(work, deployment)[0] * 1e3 for _ in range(_FRESH_RUNS + 1)]
            samples[FRESH.title] = told_all[1:]
    return samples


def _start_one(work: Work, deployment: str) -> tuple[float, float]:
    """Return the seconds until a run began, by its states and as seen; a trivial one may be seen ended at once."""
    begin = time.time()
    run = work.create(deployment)
    seen = work.wait_for(run, "RUNNING", "COMPLETED") - begin
    work.wait_for(run, "COMPLETED")
    return work.seconds_to_running(run), seen


MEASUREMENT = Measurement([WARM, WORST, SEEN, FRESH], take, peer=True)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
