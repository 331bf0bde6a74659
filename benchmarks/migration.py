"""How long a database of an older release takes to become one of today: ``python -m benchmarks.migration [--runs N]``.

The database is made at an old revision, with a million flow runs, a million task runs and ten million log lines; then it is
migrated as at a server's start, and it is told what each revision took of that. Beside it somebody writes a flow run and
a log line every few milliseconds, as servers of the older release do meanwhile: the longest of these writes is told, and
that all of them are there afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
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
_TASK_COLUMNS = (
    "id, flow_run_id, task_key, dynamic_key, name, created_us, flow_run_run_count, state_type, state_name, state_us, history, "
    "attempt, level, ord, run_count, expected_start_us, start_us, end_us, running_us"
)
_TASKS_OF_A_RUN = 100
_ONE = (
    f"INSERT INTO flow_runs ({_COLUMNS}) VALUES (:id, :flow, 'beside', 1, 1, 'RUNNING', 'Running', 1, 1, 0, 0, 1, 1, "
    "1, NULL, 0, :no)"
)
_ONE_LINE = (
    "INSERT INTO log_chunks (flow_run_id, first_us, last_us, min_level, max_level, lines, data) "
    "VALUES (:id, 3, 3, 20, 20, 1, :data)"
)


_STEP = 50_000
_NUMBERS = {
    "sqlite": "(WITH RECURSIVE c(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM c WHERE n < :last) SELECT n FROM c)",
    "postgresql": "(SELECT n FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n)",
}


def main() -> None:
    """Fill, migrate, and print what it took, on each kind of database."""
    options = _options()
    for kind in options.kinds:
        with new(kind) as place, _engine(place) as engine:
            with engine.begin() as connection:
                migrations.upgrade(connection, BEFORE)
            began = time.perf_counter()
            flow = _fill(engine, options.runs, options.lines // _LINES)
            _fill_tasks(engine, options.tasks)
            print(
                f"{kind}: {options.runs:,} runs, {options.tasks:,} task runs and {options.lines:,} log lines, "
                f"made in {time.perf_counter() - began:.0f} s"
            )
            database = Database(read_url(place.url or "", place.home))
            with _writing(engine, flow) as waits_s, _told(database, kind):
                began = time.perf_counter()
                database.migrate()
                took_s = time.perf_counter() - began
            print(
                f"{kind}: migrated in {took_s:.2f} s; the longest of {len(waits_s)} writes beside it: {max(waits_s):.2f} s"
            )
            with database.read() as connection:
                looks = (
                    "SELECT count(*) FROM flow_runs WHERE name = 'beside'",
                    "SELECT count(*) FROM log_chunks WHERE first_us = 3",
                )
                there = [connection.execute(text(look)).scalar() for look in looks]
            if not database.is_current() or there != [len(waits_s)] * 2:
                raise SystemExit(
                    f"{kind}: {len(waits_s)} runs with a line each were written beside the migration, {there} are there."
                )
            database.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.migration", description=__doc__.split(":")[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    return parser.parse_args()


@contextlib.contextmanager
def _told(database: Database, kind: str) -> Iterator[None]:
    """Print what each revision takes, as it is written down that it is done."""
    began = time.perf_counter()

    def done(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        nonlocal began
        if statement.startswith("UPDATE alembic_version SET version_num"):
            now = time.perf_counter()
            print(f"{kind}:   {now - began:6.2f} s for {re.findall(r'[0-9]{4}', f'{statement} {values}')[0]}")
            began = now

    event.listen(database._engine, "after_cursor_execute", done)
    yield
    event.remove(database._engine, "after_cursor_execute", done)


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
    new_id, no = ("randomblob(16)", "0") if is_file else ("gen_random_uuid()", "false")
    numbers = _NUMBERS["sqlite" if is_file else "postgresql"]
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
    for first in range(1, runs + 1, _STEP):
        with engine.begin() as connection:
            connection.execute(insert, {"flow": flow, "first": first, "last": min(first + _STEP - 1, runs)})
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


def _fill_tasks(engine: Engine, tasks: int) -> None:
    """Make task runs of the same year, a hundred in each flow run, 1 in 20 failed and 1 in 10,000 open."""
    is_file = engine.dialect.name == "sqlite"
    id = "CAST(printf('%016d', {0}) AS BLOB)" if is_file else "lpad(to_hex({0}), 32, '0')::uuid"
    numbers = _NUMBERS["sqlite" if is_file else "postgresql"]
    at = f"1700000000000000 + n * {365 * _DAY_US // max(tasks, 1)}"
    state = "CASE WHEN n % 10000 = 0 THEN '{0}' WHEN n % 20 = 0 THEN '{1}' ELSE '{2}' END"
    insert = text(
        f"INSERT INTO task_runs ({_TASK_COLUMNS}) SELECT {id.format('n')}, {id.format(f'n / {_TASKS_OF_A_RUN}')}, "
        f"'etl.extract', n, 'extract-' || n, {at}, 1, {state.format('RUNNING', 'FAILED', 'COMPLETED')}, "
        f"{state.format('Running', 'Failed', 'Completed')}, {at}, '{'x' * 150}', 1, 0, n, 1, {at}, {at}, "
        f"CASE WHEN n % 10000 = 0 THEN NULL ELSE {at} + 5000 END, 5000 FROM {numbers} AS made"
    )
    for first in range(1, tasks + 1, _STEP):
        with engine.begin() as connection:
            connection.execute(insert, {"first": first, "last": min(first + _STEP - 1, tasks)})


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
        run = _id(engine)
        connection.execute(text(_ONE), {"id": run, "flow": flow, "no": no})
        connection.execute(text(_ONE_LINE), {"id": run, "data": b"x"})

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
