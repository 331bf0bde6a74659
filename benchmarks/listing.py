"""How soon the REST API lists the latest 50 of 1,000,000 flow runs in a certain state."""

from __future__ import annotations

import http.client
import json
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from headrace.model import entries, names, runs
from headrace.model.ids import IdFactory
from headrace.server.ingest.made import flow_run_row
from headrace.server.store import runs as rows
from headrace.server.store.database import Database

from .measure import Measurement, Row, Samples, median, private_home
from .servers import serving
from .side import Side

RUNS = 1_000_000
ROW = Row("listing the latest 50 of 1,000,000 flow runs, with a state filter", "ms", 20)
_BATCH, _REPETITIONS = 20_000, 25
_APART_US = 2_000_000
_FLOWS = [f"pipeline-{number}" for number in range(40)]

_ENDS = ("COMPLETED",) * 90 + ("FAILED",) * 6 + ("CRASHED",) * 2 + ("CANCELLED",) + ("RUNNING",)
"""What a hundred runs come to, in some order."""

_STARTS = ("START_TIME_DESC", "EXPECTED_START_TIME_DESC", "ID_DESC")
_STATES: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    ((*_STARTS, "END_TIME_DESC"), {"type": {"any_": ["FAILED"]}}),
    ((*_STARTS, "END_TIME_DESC"), {"type": {"any_": ["COMPLETED"]}}),
    ((*_STARTS, "END_TIME_DESC"), {"type": {"any_": ["FAILED", "CRASHED"]}}),
    ((*_STARTS, "END_TIME_DESC"), {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}),
    (_STARTS, {"name": {"any_": ["Failed"]}}),
    (_STARTS, {"name": {"any_": ["Completed"]}}),
    (_STARTS, {"name": {"any_": ["Completed", "Failed"]}}),
)
QUESTIONS = tuple((sort, state) for sorts, state in _STATES for sort in sorts)
"""What is asked, rare states and common ones, one and several; the row quotes the slowest.

Not among them: the last ended by *name* of state, which no index serves (0.1 to 1 s); by type it is.
"""


def take(side: Side) -> Samples:
    """Fill a database through the store's own tables, start a server on it and ask each question in turn."""
    with private_home() as home:
        _fill(home)
        with serving(side, home) as server:
            found = [_ask(server.port, sort, state) for sort, state in QUESTIONS]
    if __name__ == "__main__":
        for (sort, state), values in zip(QUESTIONS, found, strict=True):
            print(f"{median(values):8.2f} ms  {sort:26} {json.dumps(state)}")
    return {ROW.title: max(found, key=median)}


def _ask(port: int, sort: str, state: dict[str, Any]) -> list[float]:
    """Return the milliseconds of one question asked again and again; the first answer is not counted."""
    body = json.dumps({"flow_runs": {"state": state}, "sort": sort, "limit": 50})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    values = []
    try:
        for _ in range(_REPETITIONS + 1):
            begin = time.perf_counter()
            connection.request("POST", "/api/flow_runs/filter", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            values.append((time.perf_counter() - begin) * 1e3)
            if answer.status != 200 or len(json.loads(text)) != 50:
                raise RuntimeError(f"{body} was answered {answer.status}: {text[:500]!r}")
    finally:
        connection.close()
    return values[1:]


def _fill(home: Path) -> None:
    print(f"Filling a database with {RUNS:,} flow runs (about two minutes) ...", file=sys.stderr)
    database = Database.open(None, home, direct=True)
    rng, ids = random.Random(1), IdFactory()
    t = time.time_ns() // 1000 - RUNS * _APART_US
    try:
        flow_ids = database.write(
            lambda connection: rows.flow_ids(connection, database.kind, dict.fromkeys(_FLOWS, t))
        )
        for first in range(0, RUNS, _BATCH):
            made = [
                _row(rng, ids, flow_ids, t + number * _APART_US) for number in range(first, first + _BATCH)
            ]
            database.write(partial(rows.insert_flow_runs, rows=made))
    finally:
        database.close()


def _row(rng: random.Random, ids: IdFactory, flow_ids: dict[str, str], t: int) -> dict[str, Any]:
    """Return the row of one run as ingest makes it: by the fold of its journal."""
    journal = runs.Journal(ids.new(t), 1)
    name = rng.choice(_FLOWS)
    entry = entries.FlowRun(ids.new(t), t, name, names.run_name(rng.getrandbits(32)), tags=["nightly"])
    runs.apply(journal, 300, entry)
    runs.apply(journal, 600, entries.State(entry.run, t + 900, "RUNNING"))
    end = rng.choice(_ENDS)
    if end != "RUNNING":
        runs.apply(journal, 700, entries.State(entry.run, t + rng.randrange(1_000, 900_000_000), end))
    return flow_run_row(journal.runs[entry.run], entry, flow_ids[name], journal.id, t)


MEASUREMENT = Measurement([ROW], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
