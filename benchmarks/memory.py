"""How much the run's process grows over 100,000 tasks in one flow."""

from __future__ import annotations

from .measure import Measurement, Row, Samples, private_home
from .processes import run
from .side import Side

TASKS = 100_000
CALLED = Row("100,000 tasks called in one flow: growth of the run process's memory", "MB", 60)
MAPPED = Row("100,000 tasks mapped in one flow: growth of the run process's memory", "MB", 60)
_REPETITIONS = 3


def take(side: Side) -> Samples:
    """Compare the process's largest size before and after, each time in a new process."""
    samples: Samples = {}
    for row, way in ((CALLED, "called"), (MAPPED, "mapped")):
        samples[row.title] = [_grown(side, way) / 1e6 for _ in range(_REPETITIONS)]
    return samples


def _grown(side: Side, way: str) -> int:
    with private_home() as home:
        return int(run(side.program("many_tasks", TASKS, way), side.environment(home)).output)


MEASUREMENT = Measurement([CALLED, MAPPED], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
