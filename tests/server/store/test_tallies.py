"""The tallies tell what counting the rows would tell, whatever is asked and whoever wrote."""

from __future__ import annotations

import threading
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete, func, insert, select, text, update
from sqlalchemy.engine import Connection

from headrace.model.clock import to_datetime
from headrace.server.services.compaction import SURPLUS, Compaction
from headrace.server.services.loop_lease import LoopLease
from headrace.server.store import flow_runs, migrations, schema, tallies, task_runs
from headrace.server.store import tables as t
from headrace.server.store.database import Database, read_url
from headrace.server.store.filters import Matcher, Scope
from headrace.server.store.tally_plans import plan
from headrace.server.store.tally_rules import HOUR_US
from headrace.testing.postgres import Cluster
from headrace.wire import filters as wire

from ..databases import clear, untrue_tallies

FLOW = str(uuid.UUID(int=1))
TYPES = ["SCHEDULED", "RUNNING", "COMPLETED", "FAILED", "CRASHED"]

# Hours next to each other, their bounds and what lies inside them.
moments = st.builds(
    lambda hour, us: hour * HOUR_US + us,
    st.integers(400_000, 400_004),
    st.sampled_from([0, 1, HOUR_US // 2, HOUR_US - 1]),
)
states = st.none() | st.sampled_from(TYPES)
rows = st.fixed_dictionaries(
    {"state_type": states, "expected_start_us": st.none() | moments, "start_us": st.none() | moments}
)
spans: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {}, optional={"after_": moments.map(to_datetime), "before_": moments.map(to_datetime)}
)
filters: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "state": st.just({"type": {}})
        | st.lists(st.sampled_from(TYPES), max_size=3).map(lambda some: {"type": {"any_": some}})
        | st.just({"name": {"any_": ["Late"]}}),
        "start_time": spans | st.just({"is_null_": True}),
        "expected_start_time": spans,
        "name": st.just({"like_": "1"}),
        "operator": st.sampled_from(["and_", "or_"]),
    },
)


def put(connection: Connection, table: Any, number: int, columns: dict[str, Any]) -> None:
    fixed = {"id": str(uuid.UUID(int=number)), "name": f"run {number}", "created_us": 0}
    if table is t.flow_runs:
        fixed |= {"flow_id": FLOW, "updated_us": 0}
    else:
        fixed |= {"task_key": "a", "dynamic_key": str(number)}
    connection.execute(insert(table).values(**fixed, **columns))


def put_flow(connection: Connection) -> None:
    connection.execute(insert(t.flows).values(id=FLOW, name="a", created_us=0, updated_us=0))


def filled(database: Database, of_flows: list[dict[str, Any]], of_tasks: list[dict[str, Any]]) -> None:
    def work(connection: Connection) -> None:
        put_flow(connection)
        for table, given_ in ((t.flow_runs, of_flows), (t.task_runs, of_tasks)):
            for number, columns in enumerate(given_):
                put(connection, table, number, columns)

    clear(database)
    database.write(work)


def counted(connection: Connection, table: Any, scope: Scope) -> int:
    """Count the rows themselves."""
    matcher = Matcher(connection.dialect.name)
    where = matcher.flow_runs(scope) if table is t.flow_runs else matcher.task_runs(scope)
    return connection.execute(select(func.count()).select_from(table).where(where)).scalar_one()


@given(st.lists(rows, max_size=12), st.lists(rows, max_size=12), st.lists(filters, min_size=1, max_size=6))
def test_a_count_is_what_counting_the_rows_comes_to(
    kept: Database,
    of_flows: list[dict[str, Any]],
    of_tasks: list[dict[str, Any]],
    asked: list[dict[str, Any]],
) -> None:
    """By any filter, whether tallies can answer it or not; the bounds of times fall on those of hours and beside them."""
    filled(kept, of_flows, of_tasks)

    with kept.read() as connection:
        for body in asked:
            of_flow = Scope(flow_runs=wire.FlowRunFilter.model_validate(body))
            of_task = Scope(task_runs=wire.TaskRunFilter.model_validate(body))
            assert flow_runs.count(connection, of_flow) == counted(connection, t.flow_runs, of_flow)
            assert task_runs.count(connection, of_task) == counted(connection, t.task_runs, of_task)
        assert flow_runs.count(connection, Scope()) == len(of_flows)
        assert task_runs.count(connection, Scope()) == len(of_tasks)


changes = st.lists(
    st.tuples(st.sampled_from(["flow_runs", "task_runs"]), st.integers(0, 5), st.none() | rows), max_size=20
)


@given(changes, st.integers(0, 20))
def test_whoever_writes_the_tallies_stay_true(
    kept: Database, told: list[tuple[str, int, dict[str, Any] | None]], compacted_before: int
) -> None:
    """Rows are made, changed and deleted in any order, one by one and all at once, and the tallies put together between."""
    clear(kept)
    kept.write(put_flow)
    there: set[tuple[str, int]] = set()
    for step, (name, number, columns) in enumerate(told):
        if step == compacted_before:
            kept.write(tallies.compact)
        table = t.metadata.tables[name]
        which = table.c.id == str(uuid.UUID(int=number))

        def work(connection: Connection) -> None:
            if columns is None:  # noqa: B023  # called at once
                connection.execute(delete(table).where(which))  # noqa: B023
            elif (name, number) in there:  # noqa: B023
                connection.execute(update(table).where(which).values(**columns))  # noqa: B023
            else:
                put(connection, table, number, columns)  # noqa: B023

        kept.write(work)
        if columns is None:
            there.discard((name, number))
        else:
            there.add((name, number))
        assert untrue_tallies(kept) == []

    kept.write(lambda connection: connection.execute(update(t.task_runs).values(state_type="FAILED")))
    kept.write(lambda connection: connection.execute(delete(t.flows)))  # its runs go with it
    assert untrue_tallies(kept) == []
    kept.write(tallies.compact)
    assert untrue_tallies(kept) == []
    with kept.read() as connection:
        assert tallies.surplus(connection) == 0
        assert flow_runs.count(connection, Scope()) == 0


def test_counts_of_all_time_and_of_whole_hours_read_no_row() -> None:
    """What a dashboard asks is in the plan; of a time that is bounded, two hours at most are left to be counted."""
    completed = {"state": {"type": {"any_": ["COMPLETED"]}}}

    assert plan(None) == tallies.Plan(None, None)
    assert plan(wire.FlowRunFilter.model_validate(completed)) == tallies.Plan(("COMPLETED",), None)
    after, before = 5 * HOUR_US + 7, 9 * HOUR_US
    lately = {**completed, "start_time": {"after_": to_datetime(after), "before_": to_datetime(before)}}
    assert plan(wire.TaskRunFilter.model_validate(lately)) == tallies.Plan(
        ("COMPLETED",),
        tallies.Span("start_time", 5, 9),
        (
            tallies.Span("start_time", after, 6 * HOUR_US - 1),
            tallies.Span("start_time", before, before),
        ),
    )


@pytest.mark.parametrize("body", [
    {"name": {"any_": ["a"]}},
    {"state": {"name": {"any_": ["Late"]}}},
    {"state": {"type": {"not_any_": ["COMPLETED"]}}},
    {"start_time": {"is_null_": True}},
    {"start_time": {"after_": datetime(2026, 1, 1, 5, 1), "before_": datetime(2026, 1, 1, 5, 2)}},
    {"start_time": {"after_": datetime(1969, 12, 31, 5)}},
    {"start_time": {"after_": datetime(2026, 1, 1)}, "expected_start_time": {"after_": datetime(2026, 1, 1)}},
    {"state": {"type": {"any_": ["FAILED"]}}, "start_time": {"after_": datetime(2026, 1, 1)}, "operator": "or_"},
])  # fmt: skip
def test_what_tallies_do_not_tell_is_counted(body: dict[str, Any]) -> None:
    """No plan: the rows are counted."""
    assert plan(wire.FlowRunFilter.model_validate(body)) is None


def test_what_is_there_already_is_counted_when_the_tables_are_changed(database_url: str, home: Path) -> None:
    """A database of the release before has runs and no tallies."""
    home.mkdir(exist_ok=True)
    engine = create_engine(read_url(database_url, home))
    with engine.begin() as connection:
        schema.drop(connection)
        migrations.upgrade(connection, "0004")
        put_flow(connection)
        for number, state in enumerate(["COMPLETED", "COMPLETED", "RUNNING", None]):
            columns = {"state_type": state, "expected_start_us": number * HOUR_US, "start_us": None}
            put(connection, t.flow_runs, number, columns)
            put(connection, t.task_runs, number, columns)
        migrations.upgrade(connection)
        put(connection, t.flow_runs, 9, {"state_type": "COMPLETED"})
    engine.dispose()

    database = Database.open(database_url, home)
    with database.read() as connection:
        completed = wire.FlowRunFilter.model_validate({"state": {"type": {"any_": ["COMPLETED"]}}})
        assert flow_runs.count(connection, Scope(flow_runs=completed)) == 3
        assert task_runs.count(connection, Scope()) == 4
    assert untrue_tallies(database) == []
    database.close()


def test_an_emptied_table_has_no_tally(postgres: Cluster, home: Path) -> None:
    """TRUNCATE deletes no row that anybody could count."""
    with postgres.database() as url:
        database = Database.open(url, home)
        filled(database, [{"state_type": "FAILED"}] * 3, [{"state_type": "FAILED"}] * 2)
        database.write(lambda connection: connection.execute(text("TRUNCATE flow_runs CASCADE")))

        assert untrue_tallies(database) == []
        with database.read() as connection:
            assert task_runs.count(connection, Scope()) == 2
        database.close()


def test_nobody_waits_for_a_tally(postgres: Cluster, home: Path) -> None:
    """Two transactions count runs of the same hour and state while a third puts the tallies together."""
    with postgres.database() as url:
        database = Database.open(url, home)
        filled(database, [{"state_type": "FAILED"}] * 3, [])
        first_wrote, others_ended = threading.Event(), threading.Event()

        def slowly(connection: Connection) -> None:
            put(connection, t.flow_runs, 10, {"state_type": "FAILED"})
            first_wrote.set()
            assert others_ended.wait(30)

        slow = threading.Thread(target=database.write, args=(slowly,))
        slow.start()
        assert first_wrote.wait(30)
        database.write(lambda connection: put(connection, t.flow_runs, 11, {"state_type": "FAILED"}))
        database.write(tallies.compact)
        others_ended.set()
        slow.join(30)

        assert untrue_tallies(database) == []
        with database.read() as connection:
            assert flow_runs.count(connection, Scope()) == 5
        database.close()


def test_tallies_are_put_together_when_they_have_become_many(database: Database) -> None:
    """By whoever holds the lease of the loops; before, nothing is written."""
    lease = LoopLease(database, now_us=lambda: 1_000_000)
    compaction = Compaction(database, lease)

    def surplus() -> int:
        with database.read() as connection:
            return tallies.surplus(connection)

    def move(to: range) -> None:
        for hour in to:
            changed = update(t.task_runs).values(start_us=hour * HOUR_US)
            database.write(lambda connection, changed=changed: connection.execute(changed))  # type: ignore[misc]

    filled(database, [], [{"state_type": "RUNNING"}])
    database.write(tallies.compact)
    lease.start()
    move(range(5))
    compaction.tick()
    few = surplus()
    move(range(5, SURPLUS + 10))
    without_lease = Compaction(database, LoopLease(database, now_us=lambda: 1_000_000))
    without_lease.tick()
    many = surplus()
    compaction.tick()
    lease.stop()

    assert 0 < few < many
    assert many > SURPLUS
    assert surplus() == 0


def test_a_check_tells_which_tally_is_wrong(home: Path) -> None:
    """As after rows were written with the rules switched off."""
    database = Database.open("", home)
    filled(database, [{"state_type": "FAILED", "expected_start_us": 3 * HOUR_US}], [])
    database.write(lambda connection: connection.execute(text("UPDATE tallies SET runs = 5")))

    assert untrue_tallies(database) == [
        "The tallies say 5 flow runs in state FAILED of hour 3 since 1970, there are 1. A backup that is restored counts anew."
    ]
    database.close()
