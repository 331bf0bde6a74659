"""How soon the REST API lists and counts flow runs when there are 1,000,000, on each database.

``python -m benchmarks.listing [KIND]`` tells the time of every question.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from functools import partial
from itertools import count, islice
from types import ModuleType
from typing import Any

from sqlalchemy.engine import Connection

from headrace.model import entries, names, runs
from headrace.model.ids import IdFactory
from headrace.server.ingest.made import flow_run_row
from headrace.server.store import runs as rows
from headrace.server.store.database import Database

from . import machine, questions
from .databases import KINDS, Place, new
from .measure import Measurement, Row, Samples, median
from .servers import serving
from .side import OURS, Side

FEW, RUNS = 10_000, 1_000_000
LISTS = {
    kind: Row(f"listing the latest 50 of 1,000,000 flow runs on {kind}, with a state filter", "ms", floor)
    for kind, floor in (("SQLite", 20), ("PostgreSQL", 30))
}
COUNTS = {kind: Row(f"counting 1,000,000 flow runs on {kind} for a dashboard", "ms", 30) for kind in KINDS}
_BATCH = 20_000
_APART_US = 2_000_000
_FLOWS = [f"pipeline-{number}" for number in range(40)]

_ENDS = ("COMPLETED",) * 90 + ("FAILED",) * 6 + ("CRASHED",) * 2 + ("CANCELLED",) + ("RUNNING",)
"""What a hundred runs come to, in some order."""


def take(side: Side) -> Samples:
    """Ask the questions of lists and of dashboards on each database; the slowest of each are quoted."""
    samples: Samples = {}
    for kind in KINDS:
        _, many = measure(side, kind)
        samples[LISTS[kind].title], samples[COUNTS[kind].title] = many
    return samples


def measure(side: Side, kind: str) -> list[tuple[list[float], list[float]]]:
    """Return the times of the slowest list and the slowest count, at 10,000 and at 1,000,000, in milliseconds."""
    found = []
    with new(kind) as place:
        begin_us = time.time_ns() // 1_000 - RUNS * _APART_US
        for upto in _filled(place, begin_us):
            place.settle()
            since_us = begin_us + upto * 9 // 10 * _APART_US
            since = datetime.fromtimestamp(since_us / 1e6, tz=timezone.utc).isoformat()
            with (
                serving(side, place.home, database_url=place.url) as server,
                closing(questions.Asker(server.port)) as ask,
            ):
                slowest = [
                    max(_times(ask, asked, f"{kind} at {upto:,}"), key=median)
                    for asked in (questions.lists_of_flow_runs(), questions.counts_of_flow_runs(since))
                ]
            found.append((slowest[0], slowest[1]))
    return found


def _times(ask: questions.Asker, asked: list[questions.Question], where: str) -> Iterator[list[float]]:
    for question in asked:
        values = ask.times_ms(question)
        questions.tell(where, question, values)
        yield values


def _filled(place: Place, begin_us: int) -> Iterator[int]:
    """Put runs into a database through the store's own tables; stop at 10,000, and when all are in."""
    made = _rows(begin_us)
    held = 0
    for upto in (FEW, RUNS):
        print(f"Filling {place.kind} with {upto:,} flow runs ...", file=sys.stderr, flush=True)
        with closing(Database.open(place.url, place.home, direct=True)) as database:
            flow_ids = database.write(partial(_flow_ids, kind=database.kind, begin_us=begin_us))
            while held < upto:
                some = list(islice(made, min(_BATCH, upto - held)))
                whole = [{**row, "flow_id": flow_ids[row["flow_id"]]} for row in some]
                database.write(partial(rows.insert_flow_runs, rows=whole))
                held += len(some)
        yield upto


def _flow_ids(connection: Connection, kind: ModuleType, begin_us: int) -> dict[str, str]:
    return rows.flow_ids(connection, kind, dict.fromkeys(_FLOWS, begin_us))


def _rows(begin_us: int) -> Iterator[dict[str, Any]]:
    rng, ids = random.Random(1), IdFactory()
    for number in count():
        yield _row(rng, ids, begin_us + number * _APART_US)


def _row(rng: random.Random, ids: IdFactory, t: int) -> dict[str, Any]:
    """Return the row of one run as ingest makes it: by the fold of its journal; its ``flow_id`` is the flow's name."""
    journal = runs.Journal(ids.new(t), 1)
    name = rng.choice(_FLOWS)
    entry = entries.FlowRun(ids.new(t), t, name, names.run_name(rng.getrandbits(32)), tags=["nightly"])
    runs.apply(journal, 300, entry)
    runs.apply(journal, 600, entries.State(entry.run, t + 900, "RUNNING"))
    end = rng.choice(_ENDS)
    if end != "RUNNING":
        runs.apply(journal, 700, entries.State(entry.run, t + rng.randrange(1_000, 900_000_000), end))
    return flow_run_row(journal.runs[entry.run], entry, name, journal.id, t)


MEASUREMENT = Measurement([*LISTS.values(), *COUNTS.values()], take)


def main() -> None:
    """Measure one database or both, and tell every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=KINDS, help="measure only this")
    chosen = parser.parse_args()
    for kind in [chosen.kind] if chosen.kind else KINDS:
        before = machine.load()
        few, many = measure(OURS, kind)
        print(
            f"{kind}, {FEW:,} and {RUNS:,}; load average {before}, then {machine.load()}; {machine.describe()}"
        )
        for name, least, most in zip(("lists", "counts"), few, many, strict=True):
            ratio = median(most) / median(least)
            print(f"{name:7} {median(least):8.1f} {median(most):8.1f} ms {ratio:6.2f} ×")


if __name__ == "__main__":
    main()
