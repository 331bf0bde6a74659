"""How long a write waits while retention deletes: ``python -m benchmarks.retention [--postgres] [--runs N]``.

A server's database is filled with old runs, one of them with ten thousand task runs. Then small journals are taken
in, one after the other, alone and beside a sweep, which on PostgreSQL finds the logs in partitions whose time is over. The figure is the longest of these writes. On a busy machine, where
a write alone waits as long, it is the time that slices take on the CPU (SQLite works in the writing thread). In the end
it is told what the longest slice consisted of.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import event, text
from sqlalchemy.engine import Connection

from headrace.model import entries
from headrace.model.entries import Entry, encode
from headrace.model.ids import IdFactory
from headrace.server import ingest
from headrace.server.process import spare_the_collector
from headrace.server.services.retention import DAY_US, Ages, Retention
from headrace.server.store import partitions
from headrace.server.store.database import Database
from headrace.server.store.streams import LOGS
from headrace.testing.postgres import Cluster

T = TypeVar("T")

_new_id = IdFactory().new
_AGES = Ages(runs=90 * DAY_US, logs=30 * DAY_US, events=7 * DAY_US)


class _Statement(NamedTuple):
    text: str
    took_ms: float
    rows: int


class _Slice(NamedTuple):
    took_ms: float
    cpu_ms: float
    statements: list[_Statement]

    @property
    def drops(self) -> bool:
        """Whether it dropped a partition."""
        return any(one.text.startswith("DROP TABLE") for one in self.statements)


class _Lease:
    """A lease that is always held, and that tells what the slices written under it consisted of."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.slices: list[_Slice] = []
        self._here = threading.local()
        event.listen(database._engine, "before_cursor_execute", self._begin)
        event.listen(database._engine, "after_cursor_execute", self._end)

    def held(self) -> bool:
        return True

    def write(self, work: Callable[[Connection], T]) -> T:
        def timed(connection: Connection) -> T:
            self._here.statements = []
            began, cpu = time.perf_counter(), time.thread_time()
            done = work(connection)
            took = (time.perf_counter() - began) * 1_000, (time.thread_time() - cpu) * 1_000
            self.slices.append(_Slice(*took, self._here.statements))
            self._here.statements = None  # what this thread writes next is somebody else's
            return done

        return self.database.write(timed)

    def _begin(
        self, _connection: Any, _cursor: Any, _text: Any, _values: Any, context: Any, _many: Any
    ) -> None:
        context.began = time.perf_counter()

    def _end(self, _connection: Any, cursor: Any, said: str, _values: Any, context: Any, _many: Any) -> None:
        statements = getattr(self._here, "statements", None)
        if statements is not None:
            took_ms = (time.perf_counter() - context.began) * 1_000
            statements.append(_Statement(said, took_ms, cursor.rowcount))


def journal(at_us: int, tasks: int, lines: int) -> tuple[str, bytes]:
    """Return a journal of a whole run: its id and its bytes."""
    id, run, t = _new_id(at_us), _new_id(at_us), at_us
    made: list[Entry] = [
        entries.Open(id, t, (t * 1_000, 0), 7, 7, "boot", "mill"),
        entries.FlowRun(run, t, "etl", "brisk-otter"),
        entries.State(run, t + 10, "RUNNING"),
    ]
    for number in range(tasks):
        task = _new_id(t + number)
        made.append(entries.TaskRun(task, t + number, "etl.extract", f"extract-{number}", str(number), run))
        made.append(entries.State(task, t + number + 1, "RUNNING"))
        made.append(entries.State(task, t + number + 2, "COMPLETED"))
    made += [
        entries.Log(t + n, 20, "flow", f"line {n} of a hundred characters {'x' * 70}", run)
        for n in range(lines)
    ]
    made.append(entries.State(run, t + tasks + 10, "COMPLETED"))
    return id, b"".join(encode(record) + b"\n" for record in made)


def fill(database: Database, at_us: int, runs: int) -> None:
    """Put old runs in: many of 100 task runs and 200 lines, and one of 10,000 task runs."""
    for tasks in (10_000, *(100,) * runs):
        id, data = journal(at_us, tasks, 200)
        ingest.append(database, id, 0, data, now_us=at_us, leased=False)


def age_logs(database: Database) -> None:
    """Let the log chunks lie where a server would have put them that was up for forty days: in ten old partitions."""

    def work(connection: Connection) -> None:
        now_us = partitions.clock_us(connection)
        connection.execute(text("CREATE TEMPORARY TABLE aged ON COMMIT DROP AS SELECT * FROM log_chunks"))
        for one in partitions.partitions(connection, LOGS):
            connection.execute(text(f"DROP TABLE {one.name}"))
        partitions.lay_out(connection, LOGS, now_us - 41 * DAY_US, now_us)
        days_us = f"(40 - id % 10) * {DAY_US}"
        connection.execute(text(f"UPDATE aged SET id = id - (({days_us})::bigint << 10)"))
        connection.execute(text("INSERT INTO log_chunks SELECT * FROM aged"))

    if database.has_others:
        database.write(work)


class Writer(threading.Thread):
    """Takes small journals in until it is told to end; ``waits_ms`` holds how long each took."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.over = threading.Event()
        self.waits_ms: list[float] = []

    def run(self) -> None:
        while not self.over.wait(0.003):
            now_us = time.time_ns() // 1_000
            id, data = journal(now_us, 2, 2)
            began = time.perf_counter()
            ingest.append(self.database, id, 0, data, now_us=now_us, leased=False)
            self.waits_ms.append((time.perf_counter() - began) * 1_000)


@contextlib.contextmanager
def writing(database: Database) -> Iterator[list[float]]:
    """Write meanwhile; the list given holds the waits afterwards."""
    writer = Writer(database)
    writer.start()
    try:
        yield writer.waits_ms
    finally:
        writer.over.set()
        writer.join()


def tell(title: str, waits_ms: list[float]) -> None:
    """Print a line of figures."""
    ordered = sorted(waits_ms)
    at = [ordered[int(len(ordered) * part)] for part in (0.5, 0.99)]
    print(
        f"{title:28} {len(ordered):6} writes  median {at[0]:6.1f} ms  99 % {at[1]:6.1f} ms  longest {ordered[-1]:6.1f} ms"
    )


def tell_slice(slice: _Slice) -> None:
    """Print what a slice consisted of."""
    inside = sum(one.took_ms for one in slice.statements)
    print(
        f"the longest slice: {slice.took_ms:.1f} ms, {slice.cpu_ms:.1f} of them on our CPU, {inside:.1f} in statements"
    )
    for one in slice.statements:
        text = re.sub(r"\(%\(.*?\)s.*?\)|\(\?.*?\)", "(...)", " ".join(one.text.split()))
        print(f"  {one.took_ms:6.1f} ms {max(0, one.rows):5} rows  {text[:90]}")


def measure(url: str, home: Path, runs: int) -> None:
    """Fill a database, then write alone and beside a sweep."""
    database = Database.open(url, home)
    now_us = time.time_ns() // 1_000
    fill(database, now_us - 100 * DAY_US, runs)
    age_logs(database)
    with database.read() as connection:
        before = database.kind.whole_bytes(connection)[0]
    with writing(database) as alone:
        time.sleep(3)
    tell("writes alone", alone)
    began = time.perf_counter()
    lease = _Lease(database)
    with writing(database) as beside:
        gone = Retention(database, lease, ages=_AGES, now_us=lambda: now_us).sweep()
    took = time.perf_counter() - began
    tell("writes beside retention", beside)
    tell("slices of retention", [one.took_ms for one in lease.slices])
    tell("their time on the CPU", [one.cpu_ms for one in lease.slices])
    if any(one.drops for one in lease.slices):
        tell("partitions that were dropped", [one.took_ms for one in lease.slices if one.drops])
    tell_slice(max(lease.slices))
    with database.read() as connection:
        after = database.kind.whole_bytes(connection)[0]
    print(
        f"{gone['flow_runs']} runs, {gone['rows']} rows deleted in {took:.1f} s ({gone['rows'] / took:.0f} a second); "
        f"{before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after"
    )
    database.close()


def main() -> None:
    """Measure on SQLite, or on a PostgreSQL of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--runs", type=int, default=300)
    chosen = parser.parse_args()
    spare_the_collector()  # as a server does: it would stop every thread for 40 ms now and then
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        url = ""
        if chosen.postgres:
            cluster = Cluster().start()
            stack.callback(cluster.close)
            url = cluster.create("retention")
        measure(url, Path(folder), chosen.runs)


if __name__ == "__main__":
    main()
