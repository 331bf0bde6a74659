"""What takes more room than it may goes, the oldest first, until it fits; not more, and not again and again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from headrace.model import entries
from headrace.server import ingest
from headrace.server.services.loop_lease import Alone
from headrace.server.services.retention import Ages, Retention, Sizes
from headrace.server.store import partitions, tables, weights
from headrace.server.store.database import Database
from headrace.server.store.streams import EVENTS, LOGS, Stream
from headrace.settings import load
from headrace.testing.postgres import Cluster

from ..journals import NOW, an_id, lines, opened
from .divided import day_of, divide, parts, put, rows_in
from .filled import DAY_US, journal_of, run_of, take, take_open

FOR_EVER = Ages(None, None, None)
KIB = 1_024


def fit(database: Database, **sizes: int) -> dict[str, int]:
    """Let retention turn once, by size alone."""
    held = Alone(database)
    now_us = NOW + 400 * DAY_US
    return Retention(database, held, ages=FOR_EVER, sizes=Sizes(**sizes), now_us=lambda: now_us).sweep()


def taken_by(database: Database, stream: Stream) -> float:
    """Return what the rows of a stream take, about."""
    with database.read() as connection:
        return sum(part.bytes for part in weights.parts(connection, stream))


def runs_take(database: Database) -> float:
    """Return what all runs take, about."""
    with database.read() as connection:
        return weights.all_runs(connection, weights.of_runs(connection, database.kind)).bytes


def left(database: Database, table: Any) -> list[Any]:
    """Return the ids of a table's rows, in order."""
    with database.read() as connection:
        return list(connection.execute(select(table.c.id).order_by(table.c.id)).scalars())


def talk(database: Database, number: int, size: int) -> None:
    """Take in the log of a run that goes on, which hardly gets smaller by being packed."""
    text = random.Random(number).randbytes(size).hex()
    run = take_open(database, number, at_us=NOW + number)
    with database.read() as connection:
        of = select(tables.journals.c.offset).where(tables.journals.c.id == journal_of(number))
        held = connection.execute(of).scalar_one()
    line = entries.Log(NOW + number, 20, "flow", text, run)
    ingest.append(database, journal_of(number), held, lines([line]), now_us=NOW, leased=False)


def happen(database: Database, number: int) -> None:
    """Let many events happen, one after the other."""
    rows = [
        {
            "id": an_id(n, 8), "occurred_us": NOW + n, "received_us": NOW, "event": "e", "resource_id": "r",
            "payload": {"text": "x" * 400},
        }
        for n in range(number)
    ]  # fmt: skip
    database.write(lambda connection: connection.execute(insert(tables.events), rows))


def chunks_of(us: int, number: int, size: int) -> list[dict[str, Any]]:
    """Return rows of log chunks that came at a moment."""
    usual = {"first_us": us, "last_us": us, "min_level": 20, "max_level": 20, "lines": 1}
    noise = random.Random(us)
    return [{"id": (us << 10) + n, "data": noise.randbytes(size), **usual} for n in range(number)]


def test_what_rows_take_is_told_about_right(database: Database) -> None:
    """By a sample, without reading all of them; a table that is measured takes as much."""
    for number in range(30):
        take(database, number, tasks=60)
    rows = [{**row, "flow_run_id": run_of(n % 30)} for n, row in enumerate(chunks_of(NOW, 1_000, 700))]
    for row in rows:
        del row["id"]
    database.write(lambda connection: connection.execute(insert(tables.log_chunks), rows))
    happen(database, 2_000)
    told = {
        "log_chunks": taken_by(database, LOGS),
        "events": taken_by(database, EVENTS),
        "flow_runs and task_runs": runs_take(database),
    }
    with database.read() as connection:
        sizes = database.kind.table_bytes(connection)
        for stream in (LOGS, EVENTS):
            # PostgreSQL's partitions have some pages each where they hold nothing
            for one in partitions.partitions(connection, stream):
                held = partitions.contents(connection, one)
                sizes[stream.table.name] -= held.bytes if held.rows == 0 else 0
    measured = {
        "log_chunks": sizes["log_chunks"],
        "events": sizes["events"],
        "flow_runs and task_runs": sizes["flow_runs"] + sizes["task_runs"],
    }

    assert {name: 0.6 < told[name] / measured[name] < 1.6 for name in told} == dict.fromkeys(told, True), (
        told,
        measured,
    )


def test_what_came_in_one_second_of_a_day_weighs_as_much_as_it_takes(database: Database) -> None:
    """The rows of a burst are the many, and ids tell the time: who looked at moments would hardly see one."""
    quiet = DAY_US // 101
    start_us = divide(database, LOGS, 0) if parts(database, LOGS) else NOW
    small = [row for n in range(100) for row in chunks_of(start_us + n * quiet, 1, 20)]
    large = [row for n in range(900) for row in chunks_of(start_us + DAY_US - 1_000_000 + n, 1, 1_000)]
    rows = [{**row, "flow_run_id": run_of(0)} for row in small + large]
    if not parts(database, LOGS):  # SQLite counts them
        rows = [{**row, "id": number} for number, row in enumerate(rows, 1)]
    database.write(lambda connection: connection.execute(insert(tables.log_chunks), rows))

    assert 900 * 1_000 < taken_by(database, LOGS) < 1_600_000


def test_the_runs_that_ended_first_go_until_the_others_fit(database: Database) -> None:
    """An open one stays, however old; who looks again finds nothing to do, though no table has become smaller."""
    take_open(database, 0, at_us=NOW - DAY_US)
    for number in range(1, 41):
        take(database, number, tasks=20, logs=0, at_us=NOW + number * DAY_US)
    before = runs_take(database)
    gone = fit(database, runs=int(before * 0.6))
    kept = left(database, tables.flow_runs)

    assert kept == [run_of(0), *(run_of(number) for number in range(gone["flow_runs"] + 1, 41))]
    assert 14 <= gone["flow_runs"] <= 30
    assert runs_take(database) <= before * 0.6
    assert fit(database, runs=int(before * 0.6)) == {"flow_runs": 0, "rows": 0, "bytes": 0}
    assert kept == left(database, tables.flow_runs)


def test_what_fits_stays(database: Database) -> None:
    """Neither is anything deleted where there is no size."""
    for number in range(5):
        take(database, number)
    happen(database, 20)
    before = [left(database, table) for table in (tables.flow_runs, tables.log_chunks, tables.events)]
    fit(database)
    fit(database, runs=10**9, logs=10**9, events=10**9)

    assert before == [left(database, table) for table in (tables.flow_runs, tables.log_chunks, tables.events)]


def test_runs_that_go_on_are_never_deleted_for_their_size(database: Database) -> None:
    """It does not fit then; nothing else is done for ever."""
    for number in range(3):
        take_open(database, number)
    fit(database, runs=1)

    assert len(left(database, tables.flow_runs)) == 3


def test_task_runs_without_a_flow_run_go_too(database: Database) -> None:
    """Those that began first; where no flow run has ended there are only these."""
    records: list[Any] = [opened(journal_of(0))]
    for number in range(1_000):
        records.append(
            entries.TaskRun(an_id(number, 2), NOW + number, "etl.extract", "alone", str(number), None)
        )
        records.append(entries.State(an_id(number, 2), NOW + number, "RUNNING"))
        records.append(entries.State(an_id(number, 2), NOW + number, "COMPLETED"))
    ingest.append(database, journal_of(0), 0, lines(records), now_us=NOW, leased=False)
    before = runs_take(database)
    fit(database, runs=int(before * 0.7))
    kept = left(database, tables.task_runs)

    assert 400 <= len(kept) <= 700
    assert kept == [an_id(number, 2) for number in range(1_000 - len(kept), 1_000)]


def test_the_oldest_lines_go_until_the_others_fit(database: Database) -> None:
    """Those of runs that go on, too: their runs stay."""
    for number in range(60):
        talk(database, number, 3_000)
    before = taken_by(database, LOGS)
    chunks = left(database, tables.log_chunks)
    fit(database, logs=int(before * 0.5))
    kept = left(database, tables.log_chunks)

    assert kept == chunks[-len(kept) :]
    assert 24 <= len(kept) <= 30
    assert len(left(database, tables.flow_runs)) == 60
    assert fit(database, logs=int(before * 0.5))["rows"] == 0
    assert kept == left(database, tables.log_chunks)


def test_the_oldest_events_go_until_the_others_fit(database: Database) -> None:
    """As they occurred, whatever their ids are."""
    happen(database, 1_000)
    backwards = NOW + 10_000 - (tables.events.c.occurred_us - NOW)
    database.write(lambda c: c.execute(update(tables.events).values(occurred_us=backwards)))
    before = taken_by(database, EVENTS)
    fit(database, events=int(before * 0.5))
    kept = left(database, tables.events)

    assert kept == [an_id(number, 8) for number in range(len(kept))]
    assert 400 <= len(kept) <= 500


@pytest.fixture
def divided(postgres: Cluster, home: Path) -> Iterator[Database]:
    """A database of its own: partitions are dropped from it."""
    with postgres.database() as url:
        found = Database.open(url, home)
        yield found
        found.close()


def test_whole_partitions_go_the_oldest_first(divided: Database) -> None:
    """Until the others fit; their space is free at once."""
    began_us = divide(divided, LOGS, 10)
    for day in range(10):
        rows = chunks_of(began_us + day * DAY_US + 1, 50, 2_000)
        divided.write(lambda c, rows=rows: c.execute(insert(tables.log_chunks), rows))  # type: ignore[misc]
    put(divided, LOGS, {1: NOW, 2: NOW})  # in the first partition
    before = taken_by(divided, LOGS)
    gone = fit(divided, logs=int(before * 0.55))
    days = [day_of(began_us + day * DAY_US) for day in range(10)]

    assert rows_in(divided, LOGS) == dict.fromkeys(days[-5:], 50)
    assert gone["rows"] == 5 * 50 + 2
    assert before * 0.4 < gone["bytes"] <= before * 0.6
    assert [one.name[-8:] for one in parts(divided, LOGS) if one.is_dated][:5] == days[-5:]
    assert fit(divided, logs=int(before * 0.55))["rows"] == 0


def test_what_came_today_goes_row_by_row(divided: Database) -> None:
    """Where that alone is too much; the table's files keep their size, and what they hold is not deleted again for it."""
    divide(divided, LOGS, 3)
    with divided.read() as connection:
        now_us = partitions.clock_us(connection)
    rows = chunks_of(now_us, 400, 2_000)
    divided.write(lambda c: c.execute(insert(tables.log_chunks), rows))
    before = taken_by(divided, LOGS)
    fit(divided, logs=int(before * 0.5))
    kept = left(divided, tables.log_chunks)

    assert kept == [row["id"] for row in rows][-len(kept) :]
    assert 150 <= len(kept) <= 200
    assert _on_disk(divided) > before * 0.9
    assert fit(divided, logs=int(before * 0.5))["rows"] == 0


def _on_disk(database: Database) -> int:
    with database.read() as connection:
        return int(database.kind.table_bytes(connection)["log_chunks"])


def test_a_partition_that_is_in_use_is_left_to_the_next_turn(divided: Database) -> None:
    """What is newer is not deleted in its place."""
    began_us = divide(divided, LOGS, 10)
    for day in range(10):
        rows = chunks_of(began_us + day * DAY_US + 1, 50, 2_000)
        divided.write(lambda c, rows=rows: c.execute(insert(tables.log_chunks), rows))  # type: ignore[misc]
    before = taken_by(divided, LOGS)
    with divided.read() as reader:
        reader.execute(select(func.count()).select_from(tables.log_chunks))
        gone = fit(divided, logs=int(before * 0.5))

    assert gone["rows"] == 0
    assert fit(divided, logs=int(before * 0.5))["rows"] >= 200


def test_sizes_are_written_as_people_do_and_nothing_is_any_size() -> None:
    """As a setting each of the three."""
    assert Sizes.of(load({})) == (None, None, None)
    said = {
        "HEADRACE_RETENTION_RUNS_SIZE": "20 GB",
        "HEADRACE_RETENTION_LOGS_SIZE": "512 MiB",
        "HEADRACE_RETENTION_EVENTS_SIZE": "0",
    }
    assert Sizes.of(load(said)) == (20 * 10**9, 512 * KIB * KIB, None)
