"""Chunks are how lines are kept, not how they are found: every question is answered as if each had a row."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, insert, select

from headrace.server.store import logs
from headrace.server.store.database import Database
from headrace.server.store.deletion import delete_flow_runs
from headrace.server.store.logs import LogFilter, LogLine
from headrace.server.store.tables import log_chunks, task_runs

from ..databases import clear
from ..journals import JOURNAL, NOW, an_id

RUN, OTHER = an_id(1, 1), an_id(2, 1)


def line(
    number: int, *, t: int | None = None, level: int = 20, flow_run: str | None = RUN, task: str | None = None
) -> LogLine:
    return LogLine(
        an_id(number, 9),
        NOW + (number if t is None else t),
        level,
        "logger",
        f"line {number}",
        flow_run,
        task,
    )


def keep(database: Database, *batches: Iterable[LogLine]) -> None:
    for batch in batches:
        some = list(batch)
        database.write(lambda connection, some=some: logs.write(connection, some))


def find(database: Database, wanted: LogFilter, **how: int) -> list[LogLine]:
    with database.read() as connection:
        return logs.query(connection, wanted, **how)  # type: ignore[arg-type]  # bool is an int


@st.composite
def _batches(draw: st.DrawFn) -> list[list[LogLine]]:
    number = 0
    batches: list[list[LogLine]] = []
    for size in draw(st.lists(st.integers(1, 6), max_size=6)):
        batch = []
        for _ in range(size):
            number += 1
            task = draw(st.sampled_from([None, an_id(1, 2), an_id(2, 2)]))
            flow_run = draw(st.sampled_from([RUN, RUN, OTHER, None]))
            t, level = draw(st.integers(0, 9)), draw(st.sampled_from([10, 20, 40]))
            batch.append(line(number, t=t, level=level, flow_run=flow_run, task=task))
        batches.append(batch)
    return batches


_maybe_t = st.none() | st.integers(NOW, NOW + 9)
_maybe_level = st.none() | st.sampled_from([10, 20, 30, 40])
_filters = st.builds(
    LogFilter,
    task_runs=st.none(),
    flow_runs=st.none() | st.lists(st.sampled_from([RUN, OTHER]), max_size=2),
    without_task_run=st.sampled_from([None, None, True, False]),
    min_level=_maybe_level,
    max_level=_maybe_level,
    after_us=_maybe_t,
    before_us=_maybe_t,
    where=st.none() | st.just(lambda one: "1" in one.message),
)


def is_wanted(one: LogLine, wanted: LogFilter) -> bool:
    return (
        (wanted.flow_runs is None or one.flow_run in wanted.flow_runs)
        and (wanted.without_task_run is None or (one.task_run is None) == wanted.without_task_run)
        and (wanted.min_level or 0) <= one.level <= (99 if wanted.max_level is None else wanted.max_level)
        and (wanted.after_us or 0) <= one.t <= (wanted.before_us or 2 * NOW)
        and (wanted.where is None or wanted.where(one))
    )


@settings(max_examples=60)
@given(
    batches=_batches(),
    wanted=_filters,
    descending=st.booleans(),
    limit=st.integers(0, 12),
    offset=st.integers(0, 12),
)
def test_a_page_of_any_question_is_right(
    kept: Database,
    batches: list[list[LogLine]],
    wanted: LogFilter,
    descending: bool,
    limit: int,
    offset: int,
) -> None:
    """In time order, lines of one moment in the order they came; pages do not overlap and miss nothing."""
    everything = [one for batch in batches for one in batch if is_wanted(one, wanted)]
    clear(kept)
    keep(kept, *batches)
    found = find(kept, wanted, descending=descending, limit=limit, offset=offset)
    whole = find(kept, wanted, descending=descending, limit=1_000)

    assert sorted(whole) == sorted(everything)
    assert [one.t for one in whole] == sorted((one.t for one in everything), reverse=descending)
    assert found == whole[offset : offset + limit]


def test_lines_of_one_moment_keep_the_order_in_which_they_were_written(database: Database) -> None:
    """And reading from the end gives exactly the reverse."""
    keep(database, [line(n, t=5) for n in range(5)], [line(n, t=5) for n in range(5, 9)])
    forth = find(database, LogFilter())

    assert [one.message for one in forth] == [f"line {n}" for n in range(9)]
    assert find(database, LogFilter(), descending=True) == forth[::-1]


def test_the_lines_of_a_task_run_are_found_among_those_of_its_flow_run(database: Database) -> None:
    """A chunk may hold lines of many; and a task run without a flow run has its own."""
    task, alone = an_id(1, 2), an_id(3, 2)
    made = {
        "id": task,
        "flow_run_id": RUN,
        "task_key": "k",
        "dynamic_key": "0",
        "name": "n",
        "created_us": NOW,
    }
    database.write(lambda connection: connection.execute(insert(task_runs).values(made)))
    keep(
        database,
        [line(1), line(2, task=task), line(3, task=an_id(2, 2))],
        [line(4, flow_run=None, task=alone)],
    )

    assert [one.message for one in find(database, LogFilter(task_runs=[task]))] == ["line 2"]
    assert [one.message for one in find(database, LogFilter(task_runs=[alone]))] == ["line 4"]
    assert [one.message for one in find(database, LogFilter(task_runs=[task, alone]))] == ["line 2", "line 4"]


def test_chunks_have_limits(database: Database) -> None:
    """Of lines and of text; a line longer than a chunk is a chunk by itself."""
    many = [logs.Line(NOW, 20, "l", "m", None, n) for n in range(2 * logs.CHUNK_LINES + 1)]
    long = [logs.Line(NOW, 20, "l", "m" * (logs.CHUNK_BYTES + 1), None, n) for n in range(2)]

    assert [row["lines"] for row in logs.chunks(RUN, JOURNAL, many)] == [
        logs.CHUNK_LINES,
        logs.CHUNK_LINES,
        1,
    ]
    assert [row["lines"] for row in logs.chunks(RUN, JOURNAL, long)] == [1, 1]


def test_a_page_far_into_a_long_log_opens_few_chunks(database: Database) -> None:
    """What lies before it is counted by its chunks' own counts."""
    keep(database, *([line(10 * n + m) for m in range(10)] for n in range(50)))
    opened: list[str] = []

    def saw(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "data" in statement:
            opened.append(statement)

    event.listen(database._readers, "before_cursor_execute", saw)
    found = find(database, LogFilter(min_level=20), limit=5, offset=400)

    assert [one.message for one in found] == [f"line {n}" for n in range(400, 405)]
    assert len(opened) == 1


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_nothing_is_empty(database: Database, limit: int) -> None:
    """Without a look at the table."""
    keep(database, [line(1)])

    assert find(database, LogFilter(), limit=limit) == []


def test_the_log_of_a_flow_run_goes_with_it(database: Database) -> None:
    """And no other."""
    keep(database, [line(1), line(2, task=an_id(1, 2)), line(3, flow_run=OTHER)])
    database.write(lambda connection: delete_flow_runs(connection, [RUN]))

    assert [one.message for one in find(database, LogFilter())] == ["line 3"]
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(log_chunks)).scalar_one() == 1
