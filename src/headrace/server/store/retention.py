"""What goes when its time is over: ended runs with all that belongs to them, log lines, events, journals' rows.

Each function does a slice in the transaction it is given: it asks ``enough`` between statements of a few dozen rows
and stops when that says so, so that nobody who wants to write waits for long. What holds a row is passed over;
it is there the next time. A run that is open is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Table, delete, exists, func, or_, select
from sqlalchemy.engine import Connection

from headrace.model.ids import first_of

from . import locks
from .tables import commands, events, flow_run_inputs, flow_runs, journals, log_chunks, task_runs

Enough = Callable[[], bool]
"""Says whether a slice has taken its time."""

RUNS = 50
"""Flow runs that one slice locks at most."""

_PIECE = 100
"""Rows that one statement deletes: 1 to 3 ms on SQLite here (benchmarks/retention.py)."""

_CHUNKS = 20  # log chunks: up to some hundred kilobytes each, in pages that are freed one by one

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


def ended(connection: Connection, before_us: int, limit: int) -> list[str]:
    """Return flow runs that ended before a moment, those first that ended first. Walks ``ix_flow_runs_end``."""
    statement = select(_r.id).where(_r.end_us < before_us).order_by(_r.end_us).limit(limit)
    return list(connection.execute(statement).scalars())


def count_ended(connection: Connection, before_us: int) -> int:
    """Return how many flow runs ended before a moment. Walks ``ix_flow_runs_end``."""
    return connection.execute(select(func.count()).where(_r.end_us < before_us)).scalar_one()


def delete_ended(connection: Connection, enough: Enough, ids: Sequence[str], before_us: int) -> Slice:
    """Delete flow runs with all that belongs to them, as far as time allows, if they still ended before a moment.

    A run's own row goes last: a slice that was cut short is gone on with. Its journal's row stays, and with it how
    much of the journal is held, so what is sent once more brings nothing back (:func:`delete_journals`).
    """
    locked = locks.hold_to_delete(
        connection, flow_runs, _r.id.in_(ids), _r.end_us < before_us, skip_locked=True
    )
    deleted = 0
    for table, size in ((task_runs, _PIECE), (log_chunks, _CHUNKS)):
        while some := _delete_some(connection, table, size, table.c.flow_run_id.in_(locked)):
            deleted += some
            if enough():
                return Slice(deleted, 0)
    deleted += locks.remove(connection, flow_run_inputs, flow_run_inputs.c.flow_run_id.in_(locked))
    owners = select(_r.journal_id).where(_r.id.in_(locked), _r.journal_id.is_not(None))
    asked = commands.c.journal_id.in_(owners), commands.c.flow_run_id.in_(locked)  # for ix_commands_journal
    for table, where in ((commands, asked), (events, (events.c.flow_run_id.in_(locked),))):
        while some := _delete_some(connection, table, _PIECE, *where):
            deleted += some
            if enough():
                return Slice(deleted, 0)
    runs = locks.remove(connection, flow_runs, _r.id.in_(locked))
    return Slice(deleted + runs, runs)


def _delete_some(connection: Connection, table: Table, limit: int, *where: ColumnElement[bool]) -> int:
    """Delete so many rows, in no order: an order would have to be found among all that belongs to fifty runs.

    What somebody holds is passed over, so no order is needed. Returns how many there were.
    """
    statement = select(table.c.id).where(*where).limit(limit).with_for_update(skip_locked=True)
    ids = list(connection.execute(statement).scalars())
    if ids:
        connection.execute(delete(table).where(table.c.id.in_(ids)))
    return len(ids)


def loose_task_runs(connection: Connection, before_us: int, limit: int) -> list[str]:
    """Return task runs without a flow run that ended before a moment; a flow run may have been deleted while it ran.

    Walks ``ix_task_runs_expected_start``, of what was begun before that moment and is still there.
    """
    has_run = exists().where(_r.id == _t.flow_run_id)
    loose = or_(_t.flow_run_id.is_(None), ~has_run)
    statement = select(_t.id).where(_t.expected_start_us < before_us, _t.end_us < before_us, loose)
    return list(connection.execute(statement.order_by(_t.expected_start_us).limit(limit)).scalars())


def delete_loose_task_runs(connection: Connection, enough: Enough, ids: Sequence[str]) -> int:
    """Delete task runs, and log lines that are theirs alone; return how many rows that were."""
    deleted = 0
    for start in range(0, len(ids), _PIECE):
        some = ids[start : start + _PIECE]
        locked = locks.hold_to_delete(connection, task_runs, _t.id.in_(some), skip_locked=True)
        deleted += locks.remove(connection, log_chunks, _l.task_run_id.in_(locked))
        deleted += locks.remove(connection, task_runs, _t.id.in_(locked))
        if enough():
            break
    return deleted


def old_chunks(connection: Connection, before_us: int) -> list[int]:
    """Return log chunks all of whose lines are older than a moment, of the thousand that came first.

    Walks the primary key, which counts up as lines come: behind a thousand that are not old there are no others.
    """
    first = select(_l.id, _l.last_us).order_by(_l.id).limit(_LOOK)
    return [id for id, last_us in connection.execute(first) if last_us < before_us]


def delete_chunks(connection: Connection, enough: Enough, ids: Sequence[int]) -> int:
    """Delete log chunks; return how many."""
    deleted = 0
    for start in range(0, len(ids), _CHUNKS):
        deleted += locks.remove(connection, log_chunks, _l.id.in_(ids[start : start + _CHUNKS]))
        if enough():
            break
    return deleted


def delete_events(connection: Connection, enough: Enough, before_us: int) -> int:
    """Delete events that happened before a moment; return how many. Walks ``ix_events_occurred``."""
    deleted = 0
    while some := _delete_some(connection, events, _PIECE, events.c.occurred_us < before_us):
        deleted += some
        if enough():
            break
    return deleted


def old_journals(connection: Connection, before_us: int, after: str | None) -> list[tuple[str, int]]:
    """Return journals that were begun before a moment and when each was last heard of, behind the id ``after``.

    Walks the primary key: a journal's id tells when it was made.
    """
    c = journals.c
    behind = () if after is None else (c.id > after,)
    statement = select(c.id, c.last_seen_us).where(*behind, c.id < first_of(before_us))
    return [(row[0], row[1]) for row in connection.execute(statement.order_by(c.id).limit(_LOOK))]


def delete_journals(connection: Connection, enough: Enough, ids: Sequence[str], before_us: int) -> int:
    """Delete rows of journals of which nothing was heard since a moment and that have no open run; return how many.

    What is asked of their processes goes too. Walks ``ix_flow_runs_open`` and ``ix_task_runs_open``.
    """
    c = journals.c
    open_flow_runs = exists().where(_r.journal_id == c.id, _r.end_us.is_(None))
    open_task_runs = exists().where(_t.journal_id == c.id, _t.end_us.is_(None))
    idle = c.id.in_(ids), c.last_seen_us < before_us, ~open_flow_runs, ~open_task_runs
    locked = locks.hold_to_delete(connection, journals, *idle, skip_locked=True)
    asked = commands.c.journal_id.in_(locked)
    deleted = 0
    while some := _delete_some(connection, commands, _PIECE, asked):
        deleted += some
        if enough():
            return deleted
    return deleted + locks.remove(connection, journals, c.id.in_(locked))
