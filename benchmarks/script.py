"""One trivial flow as a script without a server: the whole process, and until its run is in the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from .measure import Measurement, Row, Samples, private_home
from .processes import run
from .side import Side

WHOLE = Row("one trivial flow as a script without a server, whole process", "ms", 200)
RECORDED = Row("the same, until the run is on record in the database", "s", 1.5)
COMPANION = Row("the same, processor time of its companion", "s", 0.6)
_REPETITIONS = {False: 7, True: 3}


def take(side: Side) -> Samples:
    """Run the script once to warm up, then in a new home each time as at first use, and in a used one."""
    samples: Samples = {row.title: [] for row in (WHOLE, RECORDED, COMPANION)}
    with private_home() as home:
        run(side.program("trivial"), side.environment(home))
        for _ in range(_REPETITIONS[side.is_peer]):
            _take_one(side, home, samples)
    return {title: values for title, values in samples.items() if values}


def _take_one(side: Side, home: Path, samples: Samples) -> None:
    found: list[float] = []
    before = None if side.is_peer else _completed(home)
    watch = None if before is None else _watch(home, before + 1, found)
    ended = run(side.program("trivial"), side.environment(home), watch=watch)
    samples[WHOLE.title].append(ended.seconds * 1e3)
    samples[RECORDED.title] += found
    if not side.is_peer and ended.left_behind_cpu is not None:
        samples[COMPANION.title].append(ended.left_behind_cpu)


def _watch(home: Path, wanted: int, found: list[float]) -> Callable[[float], bool]:
    def look(seconds: float) -> bool:
        if _completed(home) < wanted:
            return False
        found.append(seconds)
        return True

    return look


def _completed(home: Path) -> int:
    """Return how many flow runs are on record as completed."""
    path = home / "headrace.db"
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        question = "SELECT count(*) FROM flow_runs WHERE state_type = 'COMPLETED'"
        return int(connection.execute(question).fetchone()[0])
    except sqlite3.OperationalError:  # no such table yet
        return 0
    finally:
        connection.close()


MEASUREMENT = Measurement([WHOLE, RECORDED, COMPANION], take, peer=True)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
