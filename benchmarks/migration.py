"""How long a database of an older release takes to become one of today: ``python -m benchmarks.migration [--runs N] [--lines N]``.

The database is made at the revision before the newest, with a million flow runs and ten million log lines; then it is
migrated as at a server's start. Beside it somebody writes a flow run every few milliseconds, as servers of the older
release do meanwhile: the longest of these writes is told, and that all of them are there afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text

from headrace.server.store import migrations
from headrace.server.store.database import Database, read_url

from .databases import KINDS, Place, new

BEFORE = "0002"
_DAY_US = 86_400_000_000
_LINES, _CHUNK_BYTES = 1_000, 25_000  # of one chunk, as benchmarks of log lines find it on disk
_COLUMNS = (
    "id, flow_id, name, created_us, updated_us, state_type, state_name, state_us, attempt, level, ord, run_count, "
    "expected_start_us, start_us, end_us, running_us, auto_scheduled"
)
_ONE = (
    f"INSERT INTO flow_runs ({_COLUMNS}) VALUES (:id, :flow, 'beside', 1, 1, 'RUNNING', 'Running', 1, 1, 0, 0, 1, 1, "
    "1, NULL, 0, :no)"
)


def main() -> None:
    """Fill, migrate, and print what it took, on each kind of database."""
    options = _options()
    for kind in options.kinds:
        with new(kind) as place, _engine(place) as engine:
            with engine.begin() as connection:
                migrations.upgrade(connection, BEFORE)
            began = time.perf_counter()
            flow = _fill(engine, options.runs, options.lines // _LINES)
            print(
                f"{kind}: {options.runs:,} runs and {options.lines:,} log lines, made in {time.perf_counter() - began:.0f} s"
            )
            database = Database(read_url(place.url or "", place.home))
            with _writing(engine, flow) as waits_s:
                began = time.perf_counter()
                database.migrate()
                took_s = time.perf_counter() - began
            print(
                f"{kind}: migrated in {took_s:.2f} s; the longest of {len(waits_s)} writes beside it: {max(waits_s):.2f} s"
            )
            with database.read() as connection:
                there = connection.execute(
                    text("SELECT count(*) FROM flow_runs WHERE name = 'beside'")
                ).scalar()
            if not database.is_current() or there != len(waits_s):
                raise SystemExit(
                    f"{kind}: {len(waits_s)} runs were written beside the migration, {there} are there."
                )
            database.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.migration", description=__doc__.split(":")[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    return parser.parse_args()


@contextlib.contextmanager
def _engine(place: Place) -> Iterator[Engine]:
    engine = create_engine(read_url(place.url or "", place.home))
    if place.url is None:

        @event.listens_for(engine, "connect")
        def wait_for_others(connection: Any, _: Any) -> None:
            connection.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 600000"
            )

    yield engine
    engine.dispose()


def _fill(engine: Engine, runs: int, chunks: int) -> Any:
    """Make runs of a year, 1 in 20 failed and 1 in 10,000 open, and chunks of their logs; return the flow's id."""
    is_file = engine.dialect.name == "sqlite"
    flow = _id(engine)
    step = 50_000
    new_id, no = ("randomblob(16)", "0") if is_file else ("gen_random_uuid()", "false")
    numbers = (
        "(WITH RECURSIVE c(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM c WHERE n < :last) SELECT n FROM c)"
        if is_file
        else "(SELECT n FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n)"
    )
    at = f"1700000000000000 + n * {365 * _DAY_US // runs}"
    state = "CASE WHEN n % 10000 = 0 THEN '{0}' WHEN n % 20 = 0 THEN '{1}' ELSE '{2}' END"
    insert = text(
        f"INSERT INTO flow_runs ({_COLUMNS}) SELECT {new_id}, :flow, 'run-' || n, {at}, {at}, "
        f"{state.format('RUNNING', 'FAILED', 'COMPLETED')}, {state.format('Running', 'Failed', 'Completed')}, {at}, 1, 0, n, 1, "
        f"{at}, {at}, CASE WHEN n % 10000 = 0 THEN NULL ELSE {at} + 5000000 END, 5000000, {no} FROM {numbers} AS made"
    )
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO flows (id, name, created_us, updated_us) VALUES (:id, 'nightly', 1, 1)"),
            {"id": flow},
        )
    for first in range(1, runs + 1, step):
        with engine.begin() as connection:
            connection.execute(insert, {"flow": flow, "first": first, "last": min(first + step - 1, runs)})
    chunk = text(
        "INSERT INTO log_chunks (flow_run_id, first_us, last_us, min_level, max_level, lines, data) "
        f"VALUES (:run, 1, 2, 20, 20, {_LINES}, :data)"
    )
    for first in range(0, chunks, 500):
        with engine.begin() as connection:
            rows = [
                {"run": _id(engine), "data": os.urandom(_CHUNK_BYTES)}
                for _ in range(first, min(first + 500, chunks))
            ]
            connection.execute(chunk, rows)
    return flow


def _id(engine: Engine) -> Any:
    made = uuid.uuid4()
    return made.bytes if engine.dialect.name == "sqlite" else made


@contextlib.contextmanager
def _writing(engine: Engine, flow: Any) -> Iterator[list[float]]:
    """Write a run every few milliseconds meanwhile, as the older release does; give how long each took."""
    waits_s: list[float] = []
    enough = threading.Event()

    def write(connection: Connection) -> None:
        no = 0 if engine.dialect.name == "sqlite" else False
        connection.execute(text(_ONE), {"id": _id(engine), "flow": flow, "no": no})

    def work() -> None:
        while not enough.is_set() or not waits_s:
            began = time.perf_counter()
            with engine.begin() as connection:
                write(connection)
            waits_s.append(time.perf_counter() - began)
            enough.wait(0.005)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield waits_s
    finally:
        enough.set()
        thread.join()


if __name__ == "__main__":
    main()
