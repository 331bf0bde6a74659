"""What is too old goes, with all that belongs to it; what is open stays, and nothing comes back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import delete, func, insert, select
from sqlalchemy.engine import Connection

from headrace.model import entries
from headrace.server import ingest
from headrace.server.services.loop_lease import LeaseLost
from headrace.server.services.retention import JOURNALS_LONGER_US, Ages, Retention
from headrace.server.store import logs, retention, tables
from headrace.server.store.database import Database
from headrace.server.store.pace import Pace
from headrace.settings import load

from ..databases import emptied
from ..journals import NOW, a_run, an_id, lines
from .filled import DAY_US, fill, journal_of, run_of, take, take_open

T = TypeVar("T")

AGES = Ages(runs=90 * DAY_US, logs=30 * DAY_US, events=7 * DAY_US)


class Lease:
    """A lease that is held as long as the test says so."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.slices = 0
        self.lost_after = 1_000_000

    def held(self) -> bool:
        return self.slices < self.lost_after

    def write(self, work: Callable[[Connection], T]) -> T:
        if not self.held():
            raise LeaseLost
        self.slices += 1
        return self.database.write(work)


def sweep(database: Database, now_us: int, ages: Ages = AGES) -> dict[str, int]:
    """Let retention turn once at a time."""
    return Retention(database, Lease(database), ages=ages, now_us=lambda: now_us).sweep()


def counted(database: Database) -> dict[str, int]:
    """Return the number of rows of each table that has some."""
    with database.read() as connection:
        found = {
            str(table.name): connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables.metadata.sorted_tables
        }
    return {name: number for name, number in found.items() if number}


def test_a_run_that_ended_long_ago_goes_with_all_that_belongs_to_it(database: Database) -> None:
    """And nothing else does: its neighbour that ended later, its flow, its journal's row."""
    fill(database, runs=1, tasks=3)
    later = take(database, 1, tasks=2, at_us=NOW + DAY_US)
    gone = sweep(database, NOW + 90 * DAY_US + DAY_US // 2, AGES._replace(logs=None))
    left = counted(database)

    assert gone["flow_runs"] == 1
    assert {name: left[name] for name in ("flow_runs", "task_runs", "log_chunks", "flows", "journals")} == {
        "flow_runs": 1,
        "task_runs": 2,
        "log_chunks": 1,
        "flows": 1,
        "journals": 2,
    }
    assert not {"commands", "events", "flow_run_inputs"} & left.keys()
    with database.read() as connection:
        assert connection.execute(select(tables.flow_runs.c.id)).scalars().all() == [later]


def test_a_run_that_has_not_ended_stays(database: Database) -> None:
    """However old it is; its lines of logs go by their own age."""
    run = take_open(database, 0)
    log = entries.Log(NOW, 20, "flow", "hello", run)
    held = ingest.append(database, journal_of(0), 0, b"", now_us=NOW, leased=False).held
    ingest.append(database, journal_of(0), held, lines([log]), now_us=NOW, leased=False)
    sweep(database, NOW + 10_000 * DAY_US)
    left = counted(database)

    assert left["flow_runs"] == left["journals"] == 1
    assert "log_chunks" not in left


@pytest.mark.parametrize(("runs", "logs", "events"), [(None, None, None), (None, 1, None), (None, None, 1)])
def test_what_is_kept_for_ever_is_kept(
    database: Database, runs: int | None, logs: int | None, events: int | None
) -> None:
    """Each of the three for itself."""
    fill(database)
    before = counted(database)
    sweep(database, NOW + 100_000 * DAY_US, Ages(runs, logs, events))
    expected = dict(before)
    if logs is not None:
        del expected["log_chunks"]
    if events is not None:
        del expected["events"]

    assert expected == counted(database)


def test_a_journal_that_is_sent_again_brings_nothing_back(database: Database) -> None:
    """Neither all of it once more, nor what it tells late of a run that is gone, nor lines of its log for long."""
    run = take(database, 0)
    now_us = NOW + 91 * DAY_US
    sweep(database, now_us)
    whole = lines(shifted(a_run(2, journal_of(0), logs=3), 0))
    late = [
        entries.State(run, NOW + 5_000, "FAILED"),
        entries.Log(NOW + 5_000, 20, "flow", "late", run),
        entries.TaskRun(an_id(77, 2), NOW + 5_000, "etl.extract", "late", "9", run),
        entries.State(an_id(77, 2), NOW + 5_001, "COMPLETED"),
    ]
    ingest.append(database, journal_of(0), 0, whole, now_us=now_us, leased=False)

    assert not {"flow_runs", "task_runs", "log_chunks"} & counted(database).keys()

    ingest.append(database, journal_of(0), len(whole), lines(late), now_us=now_us, leased=False)

    assert "flow_runs" not in counted(database)

    sweep(database, now_us)

    assert counted(database) == {"flows": 1, "journals": 1}


def shifted(records: list[Any], by_us: int) -> list[Any]:
    for record in records:
        record.t += by_us
    return records


def test_a_planned_run_that_is_gone_is_not_made_by_its_journal(database: Database) -> None:
    """Not even when nothing is known of the journal any more."""
    records = a_run(2, journal_of(0), logs=3)
    for record in records:
        if isinstance(record, entries.FlowRun):
            record.planned = True
    ingest.append(database, journal_of(0), 0, lines(records), now_us=NOW, leased=False)

    assert "flow_runs" not in counted(database)


def test_a_journals_row_outlives_its_runs_by_a_month(database: Database) -> None:
    """And goes when nothing was heard of it so long and none of its runs is open; what comes then goes again."""
    take(database, 0)
    take_open(database, 1)
    much_later = NOW + 200 * DAY_US
    month_later = NOW + 90 * DAY_US + JOURNALS_LONGER_US
    sweep(database, month_later - DAY_US)

    assert counted(database)["journals"] == 2

    sweep(database, much_later)

    assert counted(database) == {"flows": 1, "flow_runs": 1, "journals": 1}

    take(database, 0)
    sweep(database, much_later)

    assert counted(database) == {"flows": 1, "flow_runs": 1, "journals": 1}


def test_a_slice_that_is_cut_short_is_gone_on_with(database: Database) -> None:
    """Whenever its time is over: a run's own row goes last, so that nothing of it is forgotten."""
    fill(database, runs=2, tasks=150, logs=30)
    ids = [run_of(0), run_of(1)]
    for turn in itertools.count(1):
        done = database.write(lambda c: retention.delete_ended(c, Pace(0.0), ids, NOW + DAY_US))
        left = counted(database)
        if done.runs:
            break
        assert left["flow_runs"] == 2
        assert turn < 50

    assert turn > 4
    assert done.runs == 2
    assert not {"flow_runs", "task_runs", "log_chunks", "commands", "events", "flow_run_inputs"} & left.keys()


def test_a_slice_finds_its_rows_by_an_index(postgres_url: str, home: Any) -> None:
    """Of one run's many tasks the planner would read the first: from a table's beginning, where all is deleted already."""
    with emptied(postgres_url, home, direct=True) as database:
        run = take(database, 0, tasks=3_000)

        def plans(connection: Connection) -> list[str]:
            told = []
            of_run = tables.task_runs.c.flow_run_id == run
            statement = delete(tables.task_runs).where(
                retention._piece(connection, tables.task_runs, Pace(9.0), of_run)
            )
            text = statement.compile(connection, compile_kwargs={"literal_binds": True})
            for prepare in (lambda _: None, database.kind.walk_indexes):
                prepare(connection)
                told.append(str(connection.exec_driver_sql(f"EXPLAIN {text}".replace("%", "%%")).all()))
            return told

        database.write(lambda c: c.exec_driver_sql("ANALYZE task_runs"))
        before, after = database.write(plans)

        assert "Seq Scan" in before  # else this would prove nothing
        assert "Seq Scan" not in after
        assert "Bitmap" not in after
        assert database.write(lambda c: c.exec_driver_sql("SHOW enable_seqscan").scalar()) == "on"


def test_a_run_that_goes_on_meanwhile_is_left_alone(database: Database) -> None:
    """Somebody had it run again between the look and the lock."""
    run = take(database, 0)
    database.write(lambda c: c.execute(tables.flow_runs.update().values(end_us=None, state_type="RUNNING")))
    before = counted(database)
    done = database.write(lambda c: retention.delete_ended(c, Pace(9.0), [run], NOW + 1_000 * DAY_US))

    assert done == (0, 0)
    assert before == counted(database)


def test_nothing_more_is_deleted_once_the_lease_is_lost(database: Database) -> None:
    """Another server goes on with it."""
    for number in range(3):
        take(database, number)
    lease = Lease(database)
    lease.lost_after = 1
    service = Retention(database, lease, ages=AGES, now_us=lambda: NOW + 91 * DAY_US)
    service.tick()
    service.tick()

    assert lease.slices == 1


def test_task_runs_without_a_flow_run_go_by_their_own_age(database: Database) -> None:
    """Those of plain calls, and those of runs that were deleted while they ran; open ones stay."""
    take(database, 0, tasks=2)
    database.write(lambda c: c.execute(delete(tables.flow_runs)))
    ended, goes_on = an_id(50, 2), an_id(51, 2)
    records: list[Any] = [
        entries.TaskRun(ended, NOW, "etl.extract", "alone", "0", None),
        entries.State(ended, NOW + 1, "COMPLETED"),
        entries.TaskRun(goes_on, NOW, "etl.extract", "alone", "1", None),
        entries.State(goes_on, NOW + 1, "RUNNING"),
        entries.Log(NOW + 1, 20, "task", "a line", None, ended),
    ]
    ingest.append(database, journal_of(9), 0, lines(records), now_us=NOW, leased=False)
    sweep(database, NOW + 91 * DAY_US, AGES._replace(logs=None))
    with database.read() as connection:
        left = connection.execute(select(tables.task_runs.c.id)).scalars().all()
        told = logs.query(connection, logs.LogFilter(task_runs=[ended]))

    assert left == [goes_on]
    assert told == []


def test_a_file_gives_its_room_back(home: Any) -> None:
    """After much was deleted, up to a tenth that the next runs will fill; nothing is lost."""
    database = Database.open("", home)
    try:
        take(database, 0, tasks=1)
        database.write(lambda c: c.execute(insert(tables.events), [an_event(n) for n in range(3_000)]))
        with database.read() as connection:
            before = database.kind.whole_bytes(connection)[0]
        gone = sweep(database, NOW + 8 * DAY_US)
        with database.read() as connection:
            after, free = database.kind.whole_bytes(connection)
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"

        assert before > 12_000_000
        assert gone["bytes"] == before - after > 6_000_000
        assert free <= 1_000 * 4_096
        assert counted(database)["task_runs"] == 1
    finally:
        database.close()


def test_a_file_gets_shorter_on_a_busy_machine_too(home: Any) -> None:
    """A slice that had no time for anything before it could begin is not taken for the end of it."""
    database = Database.open("", home)
    try:
        database.write(lambda c: c.execute(insert(tables.events), [an_event(n) for n in range(3_000)]))
        database.write(lambda c: c.execute(delete(tables.events)))

        assert database.write(lambda c: database.kind.give_room(c, lambda: True)) == 4_096
    finally:
        database.close()


def an_event(number: int) -> dict[str, Any]:
    return {
        "id": an_id(number, 8), "occurred_us": NOW, "received_us": NOW, "event": "e", "resource_id": "r",
        "payload": {"text": "x" * 4_000},
    }  # fmt: skip


def test_settings_are_in_days_and_zero_is_for_ever(home: Any) -> None:
    """As a person writes them."""
    assert Ages.of(load({})) == AGES
    assert Ages.of(
        load(
            {
                "HEADRACE_RETENTION_RUNS_DAYS": "0",
                "HEADRACE_RETENTION_LOGS_DAYS": "0.5",
                "HEADRACE_RETENTION_EVENTS_DAYS": "-1",
            }
        )
    ) == (None, DAY_US // 2, None)
