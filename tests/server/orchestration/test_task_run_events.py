"""Events of task runs come in batches of any size, late, twice and in any order: what is known then is the same."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.engine import Connection

from headrace.server.orchestration import task_run_events
from headrace.server.orchestration.task_run_events import TaskRunEvent
from headrace.server.store.database import Database

from ..databases import clear, contents
from ..events import TYPES, told
from ..journals import an_id

NOW_US = 1_800_000_000_000_000


def take(database: Database, *batches: Sequence[TaskRunEvent]) -> None:
    """Take batches in, each in a transaction of its own."""
    for batch in batches:

        def work(connection: Connection, events: Sequence[TaskRunEvent] = batch) -> None:
            task_run_events.take(connection, events, NOW_US)

        database.write(work)


TASKS, STEPS = st.integers(1, 4), st.integers(0, len(TYPES) - 1)


@given(
    which=st.lists(st.tuples(TASKS, STEPS, st.sampled_from([None, 5])), min_size=1, max_size=24),
    cuts=st.sets(st.integers(1, 24)),
)
def test_batches_of_any_size_say_the_same_as_each_event_alone(
    kept: Database, beside: Database, which: list[tuple[int, int, int | None]], cuts: set[int]
) -> None:
    """Those that come twice, come late or happened in the same second, too."""
    for database in (kept, beside):
        clear(database)
    events = [told(*one) for one in which]
    ends = sorted({cut for cut in cuts if cut < len(events)} | {len(events)})
    take(kept, *(events[start:end] for start, end in zip([0, *ends], ends, strict=False)))
    take(beside, *([event] for event in events))

    assert contents(kept) == contents(beside)


def test_keys_that_another_task_run_has_hold_up_no_other(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The first to come keeps them; it is said which was passed over."""
    run = an_id(7, 1)
    clash = [told(1, 0, key=5), told(2, 0, key=6), told(3, 0, key=5), told(3, 1, key=5)]
    for event in clash:
        event.flow_run_id = run
    take(database, clash[:1], clash[1:])
    ids = [row["id"] for row in contents(database)["task_runs"]]

    assert ids == [an_id(1, 2), an_id(2, 2)]
    assert f"2 events of task run {an_id(3, 2)} were passed over" in caplog.text


def test_a_task_run_that_somebody_makes_meanwhile_gets_the_events_too(database: Database) -> None:
    """Two sockets bring one task run's events at the same time: neither is lost."""
    if database.kind.__name__.endswith("sqlite"):
        take(database, [told(1, 0)], [told(1, 1)])  # one writes at a time
    else:
        made: list[bool] = []

        def make(*arguments: Any) -> None:
            if "INSERT INTO task_runs" in arguments[2] and not made:
                made.append(True)
                other = threading.Thread(target=take, args=(database, [told(1, 0)]))
                other.start()
                other.join(30)

        sqlalchemy_event.listen(database._engine, "before_cursor_execute", make)
        try:
            take(database, [told(1, 1)])
        finally:
            sqlalchemy_event.remove(database._engine, "before_cursor_execute", make)
        assert made
    (row,) = contents(database)["task_runs"]

    assert [state.type for state in row["history"]] == ["PENDING", "RUNNING"]
    assert row["state"].type == "RUNNING"


def test_a_batch_takes_few_statements(database: Database) -> None:
    """A hundred new task runs, then their next states: not some statements for each."""
    counts = []

    def count(*_: Any) -> None:
        counts[-1] += 1

    sqlalchemy_event.listen(database._engine, "before_cursor_execute", count)
    try:
        for step in (0, 1):
            counts.append(0)
            take(database, [told(task, step) for task in range(100)])
    finally:
        sqlalchemy_event.remove(database._engine, "before_cursor_execute", count)

    assert max(counts) <= 20
