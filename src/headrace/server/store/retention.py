"""What goes when its time is over: ended runs with all that belongs to them, log lines, events, journals' rows.

Each function does a slice in the transaction it is given: it asks its pace between statements of a few dozen rows
and stops when that says so, so that nobody who wants to write waits for long. What holds a row is passed over;
it is there the next time. A run that is open is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, ColumnElement, Table, any_, delete, exists, func, literal, or_, select
from sqlalchemy.engine import Connection

from headrace.model.ids import first_of

from . import locks
from .pace import Pace
from .partitions import Partition, outside
from .streams import Stream
from .tables import commands, events, flow_run_inputs, flow_runs, journals, log_chunks, task_runs

RUNS = 50
"""Flow runs that one slice locks at most."""

_HEAVY = 5  # how many other rows a log chunk counts for: it has some hundred kilobytes, in pages that are freed one by one

_LOOK = 1_000  # rows of which one statement reads the ages

_r = flow_runs.c
_t = task_runs.c
_l = log_chunks.c


class Slice(NamedTuple):
    """What one slice did."""

    deleted: int
    """Rows, of whatever table."""
    runs: int
    """Flow runs among them: the last of a run's rows to go."""


class Tried(NamedTuple):
    """How far one slice came with rows it was given."""

    tried: int
    """The first of them, deleted or held by somebody."""
    deleted: int


def ended(connection: Connection, before_us: int, limit: int) -> list[str]:
    """Return flow runs that ended before a moment, those first that ended first. Walks ``ix_flow_runs_end``."""
    statement = select(_r.id).where(_r.end_us < before_us).order_by(_r.end_us).limit(limit)
    return list(connection.execute(statement).scalars())


def count_ended(connection: Connection, before_us: int) -> int:
    """Return how many flow runs ended before a moment. Walks ``ix_flow_runs_end``."""
    return connection.execute(select(func.count()).where(_r.end_us < before_us)).scalar_one()


def end_of_oldest(connection: Connection, flows: int, tasks: int) -> int | None:
    """Return the moment before which so many flow runs ended, the first of all; ``None``: none has ended.

    Where no flow run has ended, the moment of so many task runs without one. Walks ``ix_flow_runs_end``, or
    ``ix_task_runs_expected_start``.
    """
    ends = select(_r.end_us).where(_r.end_us.is_not(None)).order_by(_r.end_us)
    alone = select(_t.end_us).where(_t.flow_run_id.is_(None), _t.end_us.is_not(None))
    for statement, number in ((ends, flows), (alone.order_by(_t.expected_start_us), tasks)):
        found: list[int] = list(connection.execute(statement.limit(max(1, number))).scalars())
        if found:
            return max(found) + 1
    return None


def delete_ended(connection: Connection, pace: Pace, ids: Sequence[str], before_us: int) -> Slice:
    """Delete flow runs with all that belongs to them, as far as time allows, if they still ended before a moment.

    A run's own row goes last: a slice that was cut short is gone on with. Its journal's row stays, and with it how
    much of the journal is held, so what is sent once more brings nothing back (:func:`delete_journals`).
    """
    old = _among(connection, _r.id, ids), _r.end_us < before_us
    locked = locks.hold_to_delete(connection, flow_runs, *old, skip_locked=True)
    pace.mark()

    def of_runs(table: Table) -> ColumnElement[bool]:
        return _among(connection, table.c.flow_run_id, locked)

    deleted = 0
    for table in locks.in_order(task_runs, log_chunks, flow_run_inputs, commands, events):
        if table is flow_run_inputs:  # few, and without ids to take pieces by: somebody may be waited for
            deleted += locks.remove(connection, table, of_runs(table))
        else:
            deleted += _delete_all(connection, table, pace, of_runs(table))
        if pace.over:
            return Slice(deleted, 0)
    runs = connection.execute(delete(flow_runs).where(_among(connection, _r.id, locked))).rowcount
    return Slice(deleted + runs, runs)


def _among(connection: Connection, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Match one of many values: to PostgreSQL they are one, an array, which it reads and plans in half of the time."""
    if locks.are_of_rows(connection):
        return column == any_(literal(list(values), ARRAY(column.type)))
    return column.in_(values)


def _delete_all(connection: Connection, table: Table, pace: Pace, *where: ColumnElement[bool]) -> int:
    """Delete rows piece by piece as far as time allows, those aside that somebody holds; return how many there were.

    In no order, which would have to be found among all that belongs to fifty runs: nobody is waited for.
    """
    deleted = 0
    while some := connection.execute(delete(table).where(_piece(connection, table, pace, *where))).rowcount:
        deleted += some
        if pace.took():
            break
    return deleted


def delete_ids(connection: Connection, pace: Pace, table: Table, ids: Sequence[Any]) -> Tried:
    """Delete rows piece by piece as far as time allows, those aside that somebody holds."""
    deleted = start = 0
    while some := ids[start : start + _size(pace, table)]:
        start += len(some)
        these = _among(connection, table.c.id, some)
        one = delete(table).where(these, _piece(connection, table, pace, these))
        deleted += connection.execute(one).rowcount
        if pace.took():
            break
    return Tried(start, deleted)


def _piece(
    connection: Connection, table: Table, pace: Pace, *where: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Match a piece's rows that nobody holds."""
    some = select(table.c.id).where(*where).limit(_size(pace, table))
    free = locks.held_to_delete(table, some, skip_locked=True)
    if locks.are_of_rows(connection):
        # An array is found by the key; what were joined might be found by reading the table.
        return table.c.id == any_(func.array(free.scalar_subquery()))
    return table.c.id.in_(free)


def _size(pace: Pace, table: Table) -> int:
    return pace.rows // (_HEAVY if table is log_chunks else 1)


def loose_task_runs(connection: Connection, before_us: int, limit: int) -> list[str]:
    """Return task runs without a flow run that ended before a moment; a flow run may have been deleted while it ran.

    Walks ``ix_task_runs_expected_start``, of what was begun before that moment and is still there.
    """
    has_run = exists().where(_r.id == _t.flow_run_id)
    loose = or_(_t.flow_run_id.is_(None), ~has_run)
    statement = select(_t.id).where(_t.expected_start_us < before_us, _t.end_us < before_us, loose)
    return list(connection.execute(statement.order_by(_t.expected_start_us).limit(limit)).scalars())


def delete_loose_task_runs(connection: Connection, pace: Pace, ids: Sequence[str]) -> int:
    """Delete task runs, and log lines that are theirs alone; return how many rows that were."""
    deleted = start = 0
    while some := ids[start : start + pace.rows]:
        start += len(some)
        locked = locks.hold_to_delete(
            connection, task_runs, _among(connection, _t.id, some), skip_locked=True
        )
        deleted += locks.remove(connection, log_chunks, _among(connection, _l.task_run_id, locked))
        deleted += connection.execute(delete(task_runs).where(_among(connection, _t.id, locked))).rowcount
        if pace.took():
            break
    return deleted


def old(connection: Connection, stream: Stream, before_us: int, kept: Iterable[Partition] = ()) -> list[Any]:
    """Return rows that are older than a moment, of the thousand that came first; in some partitions none are looked for.

    Walks the primary key of log chunks, which counts up as lines come, and ``ix_events_occurred``: behind a thousand that
    are not old there are no others.
    """
    first = select(stream.table.c.id, stream.at).where(*outside(stream, kept))
    rows = connection.execute(first.order_by(stream.order).limit(_LOOK))
    return [id for id, at_us in rows if at_us < before_us]


def old_journals(connection: Connection, before_us: int, after: str | None) -> list[tuple[str, int]]:
    """Return journals that were begun before a moment and when each was last heard of, behind the id ``after``.

    Walks the primary key: a journal's id tells when it was made.
    """
    c = journals.c
    behind = () if after is None else (c.id > after,)
    statement = select(c.id, c.last_seen_us).where(*behind, c.id < first_of(before_us))
    return [(row[0], row[1]) for row in connection.execute(statement.order_by(c.id).limit(_LOOK))]


def delete_journals(connection: Connection, pace: Pace, ids: Sequence[str], before_us: int) -> int:
    """Delete rows of journals of which nothing was heard since a moment and that have no open run; return how many.

    What is asked of their processes goes too. Walks ``ix_flow_runs_open`` and ``ix_task_runs_open``.
    """
    c = journals.c
    open_flow_runs = exists().where(_r.journal_id == c.id, _r.end_us.is_(None))
    open_task_runs = exists().where(_t.journal_id == c.id, _t.end_us.is_(None))
    idle = _among(connection, c.id, ids), c.last_seen_us < before_us, ~open_flow_runs, ~open_task_runs
    locked = locks.hold_to_delete(connection, journals, *idle, skip_locked=True)
    deleted = _delete_all(connection, commands, pace, _among(connection, commands.c.journal_id, locked))
    if pace.over:
        return deleted
    return deleted + connection.execute(delete(journals).where(_among(connection, c.id, locked))).rowcount
