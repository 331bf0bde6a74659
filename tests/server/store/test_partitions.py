"""On PostgreSQL log lines and events lie in partitions of days, which come ahead of their time and go with their age."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, func, insert, select, text
from sqlalchemy.engine import Connection

from headrace.model import entries
from headrace.model.ids import IdFactory, first_of
from headrace.server import ingest
from headrace.server.app import create_app
from headrace.server.services.loop_lease import Alone, LoopLease
from headrace.server.services.partitioning import Partitioning
from headrace.server.services.retention import Ages, Retention
from headrace.server.store import logs, partitions, tables
from headrace.server.store.database import Database, read_url
from headrace.server.store.partitions import AHEAD_US, SAME_LENGTH, Partition
from headrace.server.store.streams import EVENTS, LOGS, STREAMS, Stream
from headrace.settings import load
from headrace.testing.postgres import Cluster

from ..journals import NOW, lines
from .divided import day_of, divide, parts, put, rows_in
from .filled import DAY_US, journal_of, run_of, take, take_open

LOGS_ONLY = Ages(None, 30 * DAY_US, None)
_new_id = IdFactory().new


@pytest.fixture
def database(postgres: Cluster, home: Path) -> Iterator[Database]:
    """A database of its own: partitions are dropped from it."""
    with postgres.database() as url:
        found = Database.open(url, home)
        yield found
        found.close()


def clock(database: Database) -> int:
    """Return PostgreSQL's time."""
    with database.read() as connection:
        return partitions.clock_us(connection)


def made(database: Database) -> int:
    """Let partitions be made once; return how many there were."""
    return Partitioning(database, Alone(database)).make()


def sweep(database: Database, now_us: int, ages: Ages = LOGS_ONLY) -> dict[str, int]:
    """Let retention turn once."""
    return Retention(database, Alone(database), ages=ages, now_us=lambda: now_us).sweep()


def test_what_comes_today_lies_in_todays_partition(database: Database) -> None:
    """Whoever inserts it, and whatever its lines tell of: its id tells when it came."""
    take(database, 0)
    now_us = clock(database)
    put(database, EVENTS, {_new_id(now_us): NOW, _new_id(now_us - 1): NOW})

    assert {day_of(now_us): 1} == rows_in(database, LOGS)
    assert {day_of(now_us): 2} == rows_in(database, EVENTS)
    with database.read() as connection:
        id = connection.execute(select(tables.log_chunks.c.id)).scalar_one()
    assert now_us - 60_000_000 < id >> 10 <= now_us


def test_no_two_chunks_get_the_same_id(database: Database) -> None:
    """However many come in one statement; later ones have higher ids."""
    row = {"first_us": 0, "last_us": 0, "min_level": 20, "max_level": 20, "lines": 1, "data": b"x"}
    for _ in range(3):
        database.write(lambda c: c.execute(insert(tables.log_chunks), [row] * 2_000))
    with database.read() as connection:
        in_order = text("SELECT id FROM log_chunks ORDER BY ctid")
        ids = list(connection.execute(in_order).scalars())

    assert len(set(ids)) == 6_000
    assert ids == sorted(ids)


def test_what_fits_nowhere_is_taken_all_the_same(database: Database) -> None:
    """Ids that an older release or SQLite counted, ids of other clocks, and those that tell nothing."""
    now_us = clock(database)
    put(database, LOGS, {1: 0, 10_000_000: 0, LOGS.first_id(now_us + 400 * DAY_US): 0})
    put(
        database,
        EVENTS,
        {"00000000-0000-0000-0000-000000000001": 0, "f6f1ad1c-0000-4000-8000-000000000000": 0},
    )

    assert rows_in(database, LOGS) == {"first": 2, "rest": 1}
    assert rows_in(database, EVENTS) == {"first": 1, "rest": 1}


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.table.name)
def test_partitions_are_there_before_their_time(database: Database, stream: Stream) -> None:
    """Without a gap, up to three days from now; nothing is made twice."""
    began_us = divide(database, stream, 30)
    there, now_us = parts(database, stream), clock(database)

    assert (there[0].start_us, there[0].end_us, there[-1].end_us) == (None, began_us, None)
    assert all(one.end_us == other.start_us for one, other in itertools.pairwise(there[:-1]))
    assert now_us + AHEAD_US <= (there[-2].end_us or 0) < now_us + AHEAD_US + 5 * DAY_US
    assert made(database) == 0
    assert there == parts(database, stream)


def test_many_partitions_are_longer_ones(database: Database) -> None:
    """A day, then two, then four: who looks for a run's lines has to look into each."""
    divide(database, LOGS, 100)
    days = [
        (one.end_us - one.start_us) // DAY_US for one in parts(database, LOGS) if one.start_us and one.end_us
    ]

    assert days[:SAME_LENGTH] == [1] * SAME_LENGTH
    assert days[SAME_LENGTH : 2 * SAME_LENGTH] == [2] * SAME_LENGTH
    assert set(days[2 * SAME_LENGTH : 3 * SAME_LENGTH]) == {4}
    assert len(days) < 3 * SAME_LENGTH + 4


def test_a_partition_whose_time_is_over_is_dropped(database: Database) -> None:
    """With every row; what is younger stays, and of the partition in between every row for as long."""
    began_us = divide(database, LOGS, 40)
    for day in range(40):
        at_us = began_us + day * DAY_US + DAY_US // 2
        put(database, LOGS, {LOGS.first_id(at_us) + n: at_us for n in range(10)})  # type: ignore[operator]
    now_us = clock(database)
    gone = sweep(database, now_us)
    kept = [one for one in parts(database, LOGS) if one.is_dated]
    border_us = now_us - 30 * DAY_US
    around = kept[0]

    assert around.start_us is not None and around.end_us is not None
    assert around.start_us < border_us < around.end_us
    days_kept = 40 - (around.start_us - began_us) // DAY_US
    assert sum(rows_in(database, LOGS).values()) == days_kept * 10
    assert gone["rows"] == 400 - days_kept * 10
    assert gone["bytes"] > 0


def test_a_partition_with_a_newer_line_stays(database: Database) -> None:
    """What is old in it goes row by row; the rest when that is old too."""
    began_us = divide(database, LOGS, 40)
    id = LOGS.first_id(began_us + 1)
    assert isinstance(id, int)
    now_us = clock(database)
    put(database, LOGS, {id: began_us, id + 1: now_us - 29 * DAY_US, id + 2: began_us})
    sweep(database, now_us)

    assert {day_of(began_us): 1} == rows_in(database, LOGS)

    sweep(database, now_us + 2 * DAY_US)

    assert rows_in(database, LOGS) == {}
    assert day_of(began_us) not in {one.name[-8:] for one in parts(database, LOGS)}


def test_rows_are_deleted_where_there_is_no_partition_of_their_time(database: Database) -> None:
    """In ``first``, in ``rest``, and what came late into a younger partition: exactly when they are too old."""
    divide(database, LOGS, 40)
    now_us = clock(database)
    old_us, young_us = now_us - 31 * DAY_US, now_us - 29 * DAY_US
    today, beyond = LOGS.first_id(now_us), LOGS.first_id(now_us + 400 * DAY_US)
    assert isinstance(today, int) and isinstance(beyond, int)
    for id in (1, today, beyond):
        put(database, LOGS, {id: old_us, id + 1: young_us})
    sweep(database, now_us)

    assert {"first": 1, day_of(now_us): 1, "rest": 1} == rows_in(database, LOGS)


def test_the_partition_of_today_stays_whatever_time_it_is_elsewhere(database: Database) -> None:
    """A server whose clock is a year ahead deletes what it takes for old, and lets the others have where to write."""
    take(database, 0)
    before = parts(database, LOGS)
    sweep(database, clock(database) + 365 * DAY_US)

    assert rows_in(database, LOGS) == {}
    assert before == parts(database, LOGS)


def test_a_table_that_is_in_use_is_not_waited_for(database: Database) -> None:
    """Somebody reads it in a long transaction, a backup say: nothing is dropped or made, until it has ended."""
    began_us = divide(database, LOGS, 40)
    id = LOGS.first_id(began_us + 1)
    put(database, LOGS, {id: began_us})
    database.write(lambda c: c.execute(text(f"DROP TABLE {parts(database, LOGS)[-2].name}")))
    engine = create_engine(read_url(database.url.render_as_string(hide_password=False), Path()))
    with engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM log_chunks"))
        gone, there = sweep(database, clock(database)), parts(database, LOGS)
        take(database, 0, at_us=clock(database))  # others go on writing

        assert gone["rows"] == 0
        assert {day_of(began_us): 1} == {
            k: v for k, v in rows_in(database, LOGS).items() if k == day_of(began_us)
        }
        assert made(database) == 0
        assert there == parts(database, LOGS)
    engine.dispose()

    assert sweep(database, clock(database))["rows"] == 1
    assert made(database) > 0


def test_writes_do_not_wait_for_a_partition_that_is_dropped(database: Database) -> None:
    """Nor for one that is made: while somebody keeps the table from being had, they come through within 50 ms or so."""
    began_us = divide(database, LOGS, 40)
    put(database, LOGS, {LOGS.first_id(began_us + 1): began_us})
    engine = create_engine(read_url(database.url.render_as_string(hide_password=False), Path()))
    over, now_us = threading.Event(), clock(database)

    def sweeping() -> None:
        while not over.is_set():
            sweep(database, clock(database))

    with engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM log_chunks"))
        thread = threading.Thread(target=sweeping)
        thread.start()
        try:
            for number in range(
                20
            ):  # behind a lock that is waited for without end not one of them would come through
                take(database, number, at_us=now_us)
        finally:
            over.set()
            thread.join()
    engine.dispose()

    assert sum(rows_in(database, LOGS).values()) == 21


def used_rest(database: Database) -> int:
    """Let nobody have made partitions since the day before yesterday; return PostgreSQL's time."""
    divide(database, LOGS, 10)
    now_us = clock(database)

    def work(connection: Connection) -> None:
        for one in partitions.partitions(connection, LOGS):
            if one.start_us is not None and (one.end_us or 0) > now_us - DAY_US:
                connection.execute(text(f"DROP TABLE {one.name}"))

    database.write(work)
    take(database, 0)
    assert rows_in(database, LOGS) == {"rest": 1}
    return now_us


def test_who_comes_after_days_makes_partitions_for_what_is_to_come(database: Database) -> None:
    """Today's lines stay where they are; PostgreSQL need not read them while everybody waits."""
    now_us = used_rest(database)
    notices: list[str] = []

    def hear(connection: Any, _record: Any) -> None:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute("SET client_min_messages = debug1")

    database._engine.dispose()
    event.listen(database._engine, "connect", hear)
    assert made(database) >= 2
    there = parts(database, LOGS)
    tomorrow_us = next(one.start_us for one in there if one.start_us is not None and one.start_us > now_us)

    assert tomorrow_us - now_us < 2 * DAY_US
    assert [
        text for text in notices if "log_chunks_rest" in text and "implied by existing constraints" in text
    ]
    take(database, 1)
    assert rows_in(database, LOGS) == {"rest": 2}
    with database.read() as connection:
        assert not partitions.is_barred(connection, LOGS)
    put(database, LOGS, {LOGS.first_id(tomorrow_us): 0})
    assert {"rest": 2, day_of(tomorrow_us): 1} == rows_in(database, LOGS)


def test_days_that_the_rest_holds_already_are_left_to_it(database: Database) -> None:
    """A clock was wrong, or ids tell nothing: what lies there is not moved, and is in nobody's way."""
    now_us = used_rest(database)
    tomorrow_us = now_us // DAY_US * DAY_US + DAY_US
    put(database, LOGS, {LOGS.first_id(tomorrow_us + 7): 0, LOGS.first_id(tomorrow_us + DAY_US + 7): 0})
    made(database)
    starts = [
        one.start_us for one in parts(database, LOGS) if one.start_us is not None and one.start_us > now_us
    ]

    assert starts[0] == tomorrow_us + 2 * DAY_US


def test_a_fence_that_was_left_is_taken_away(database: Database) -> None:
    """Who put it up was killed: what comes at its time must find a place."""
    now_us = used_rest(database)
    soon = Partition("log_chunks_soon", now_us, now_us + DAY_US)
    assert database.write(lambda c: partitions.bar(c, LOGS, soon))
    with pytest.raises(Exception, match="ck_rest"):
        take(database, 1)
    made(database)
    take(database, 1)

    assert rows_in(database, LOGS) == {"rest": 2}


def test_a_runs_lines_are_read_from_all_partitions(database: Database) -> None:
    """In their order, and put together only with those that came since its journal was begun."""
    now_us = clock(database)
    run, journal = _new_id(now_us), _new_id(now_us)
    records: list[Any] = [
        entries.Open(journal, now_us, (now_us * 1000, 0), 7, 7, "boot", "mill"),
        entries.FlowRun(run, now_us, "etl", "calm-heron"),
        entries.State(run, now_us, "RUNNING"),
    ]
    held = ingest.append(database, journal, 0, lines(records), now_us=now_us, leased=False).held
    for number in range(10):
        line = entries.Log(now_us + number, 20, "flow", f"line {number}", run)
        held = ingest.append(database, journal, held, lines([line]), now_us=now_us, leased=False).held
    days = (-2, 0, 400)
    with database.read() as connection:
        ids = (
            connection.execute(select(tables.log_chunks.c.id).order_by(tables.log_chunks.c.id))
            .scalars()
            .all()
        )
    for id, day in zip(ids, days, strict=False):
        moved = tables.log_chunks.update().where(tables.log_chunks.c.id == id)
        database.write(lambda c, moved=moved, to=id + (day * DAY_US << 10): c.execute(moved.values(id=to)))  # type: ignore[misc]
    told = [f"line {number}" for number in range(10)]

    def read() -> list[str]:
        with database.read() as connection:
            return [one.message for one in logs.query(connection, logs.LogFilter(flow_runs=[run]))]

    assert {"first": 1, day_of(now_us): 8, "rest": 1} == rows_in(database, LOGS)
    assert read() == told

    end = lines([entries.State(run, now_us + 20, "COMPLETED")])
    ingest.append(database, journal, held, end, now_us=now_us, leased=False)

    assert read() == told
    assert {"first": 1, day_of(now_us): 1} == rows_in(database, LOGS)  # the first is from before the journal


def test_a_table_is_as_large_as_its_partitions(database: Database) -> None:
    """What takes the space is told by the names that people know."""
    put(database, LOGS, dict.fromkeys(range(1, 1_000), 0))
    with database.read() as connection:
        found = database.kind.table_bytes(connection)
        whole = connection.execute(
            select(func.sum(func.pg_total_relation_size(text("relid")))).select_from(
                text("pg_partition_tree('log_chunks')")
            )
        ).scalar_one()

    assert found["log_chunks"] == whole > 100_000
    assert not [name for name in found if name.startswith("log_chunks_")]


def test_only_the_server_that_holds_the_lease_makes_partitions(database: Database) -> None:
    """From its start on, before it answers anybody."""
    divide(database, LOGS, 10)
    newest = parts(database, LOGS)[-2].name
    database.write(lambda c: c.execute(text(f"DROP TABLE {newest}")))
    now_us = clock(database)
    other = LoopLease(database, now_us=lambda: now_us)
    Partitioning(database, other).tick()

    assert newest not in {one.name for one in parts(database, LOGS)}

    other.tick()
    service = Partitioning(database, other)
    service.every_s = 3_600.0
    service.start()
    service.stop()

    assert newest in {one.name for one in parts(database, LOGS)}


def test_a_server_makes_them(database: Database) -> None:
    """It is among the loops of every server, and ends with it."""
    app = create_app(load(), database)

    async def live() -> set[str]:
        async with app.router.lifespan_context(app):
            return {thread.name for thread in threading.enumerate()}

    assert "headrace-Partitioning" in asyncio.run(live())
    assert "headrace-Partitioning" not in {thread.name for thread in threading.enumerate()}


def test_who_does_not_own_the_tables_deletes_in_slices(postgres: Cluster, home: Path) -> None:
    """Only their owner may make and drop partitions: nothing is missed, and no server complains once a minute."""
    with postgres.database() as url:
        owner = Database.open(url, home)
        began_us = divide(owner, LOGS, 40)
        newest = parts(owner, LOGS)[-2].name
        owner.write(lambda c: c.execute(text(f"DROP TABLE {newest}")))
        for statement in (
            "CREATE ROLE tenant LOGIN",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO tenant",
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO tenant",
        ):
            owner.write(lambda c, statement=statement: c.execute(text(statement)))  # type: ignore[misc]
        tenant = Database.open(url.replace("headrace@", "tenant@"), home)
        put(owner, LOGS, {LOGS.first_id(began_us + 1): began_us})
        take(tenant, 0, at_us=clock(owner))
        before = parts(owner, LOGS)

        assert made(tenant) == 0
        assert sweep(tenant, clock(owner))["rows"] == 1
        assert before == parts(owner, LOGS)
        assert sum(rows_in(owner, LOGS).values()) == 1

        tenant.close()
        for statement in ("DROP OWNED BY tenant", "DROP ROLE tenant"):
            owner.write(lambda c, statement=statement: c.execute(text(statement)))  # type: ignore[misc]
        owner.close()


def test_open_runs_and_late_reports_find_their_lines_gone_and_go_on(database: Database) -> None:
    """A run that goes on for longer than its lines are kept writes more of them."""
    began_us = divide(database, LOGS, 40)
    run = take_open(database, 0, at_us=began_us)
    line = lines([entries.Log(began_us + 1, 20, "flow", "long ago", run)])
    with database.read() as connection:
        held = connection.execute(select(tables.journals.c.offset)).scalar_one()
    held = ingest.append(database, journal_of(0), held, line, now_us=began_us, leased=False).held
    back = tables.log_chunks.c.id - (clock(database) - began_us - DAY_US // 2 << 10)
    database.write(lambda c: c.execute(tables.log_chunks.update().values(id=back)))
    assert list(rows_in(database, LOGS)) == [day_of(began_us)]
    sweep(database, clock(database))
    more = lines([entries.Log(began_us + 2, 20, "flow", "today", run_of(0))])
    ingest.append(database, journal_of(0), held, more, now_us=clock(database), leased=False)
    with database.read() as connection:
        left = logs.query(connection, logs.LogFilter(flow_runs=[run]))

    assert [one.message for one in left] == ["today"]


def test_ids_tell_their_moment_and_back() -> None:
    """By the bounds that PostgreSQL writes partitions are known again."""
    for stream in STREAMS:
        assert stream.moment(str(stream.first_id(NOW))) == NOW
    assert EVENTS.first_id(NOW) == first_of(NOW)
