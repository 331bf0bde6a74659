"""The one order in which rows are locked: who holds a row waits only for rows of its own or a later kind.

Rows of one kind are taken by id, in one statement or in a sorted batch. Who keeps to that waits for nobody who
waits for him, so no deadlock can come about. :mod:`.turns` looks at each statement before it is sent, and refuses one
that locks a kind whose turn is over; ``tests/server/store/test_lock_order.py`` records which rows each transaction
really locks, foreign keys' included, and fails on a step back.

Three things need no place in the order, because nobody waits: rows that the transaction itself made, rows that are
passed over when somebody holds them (``skip_locked``), and rows that are held already. Nor do the tallies: triggers
only ever add to them, and one server at a time puts them together. The lock on the shape of the tables
(``hold_schema``) comes before all of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Select, Table, delete, select
from sqlalchemy.engine import Connection

from .tables import (
    commands,
    deployment_schedules,
    deployments,
    events,
    flow_run_inputs,
    flow_runs,
    flows,
    journals,
    leases,
    log_chunks,
    task_runs,
    work_pools,
    work_queues,
    workers,
)

ORDER: tuple[Table, ...] = (
    leases,  # which server turns a loop
    journals,  # before all that a journal tells of
    work_pools,
    work_queues,
    deployments,
    deployment_schedules,
    flows,
    flow_runs,
    task_runs,
    log_chunks,
    flow_run_inputs,
    commands,
    events,
    workers,
)
"""Every kind of row that is written after it was made, the first to be locked first."""

PLACE: Mapping[str, int] = MappingProxyType({table.name: place for place, table in enumerate(ORDER)})
"""Where each table stands in the order, by its name."""


def in_order(*kinds: Table) -> list[Table]:
    """Return tables in the order in which their rows are locked: for who has to do the same to rows of each."""
    return sorted(kinds, key=lambda table: PLACE[table.name])


Where = ColumnElement[bool]
S = TypeVar("S", bound=Select[Any])


class LostRace(Exception):
    """What was to be locked changed before it was: the transaction is to begin anew."""


class Locks(NamedTuple):
    """What a statement locks; :mod:`.turns` looks at it before the statement is sent."""

    places: tuple[int, ...]
    """The kinds of row, by their places in :data:`ORDER`."""
    waits: bool = True
    """Whether it waits for rows that others hold."""
    again: bool = False
    """Whether the rows may be such as the transaction holds already: those that it writes or refers to."""
    makes: int | None = None
    """The kind of row that it makes, and nobody can wait for."""


SAID = "headrace_locks"
"""The option under which a statement says its :class:`Locks`, where its kind and table do not tell."""


def are_of_rows(connection: Connection) -> bool:
    """Say whether a database locks rows; SQLite does not, where one transaction writes at a time."""
    return connection.dialect.name != "sqlite"


def held(kind: Table, statement: S, *, skip_locked: bool = False) -> S:
    """Return a SELECT that keeps others from writing its rows; others may still refer to them by foreign keys.

    One of several rows has to be in the order of their ids.
    """
    return _saying(kind, statement.with_for_update(key_share=True, skip_locked=skip_locked), skip_locked)


def held_to_delete(kind: Table, statement: S, *, skip_locked: bool = False) -> S:
    """As :func:`held`, and keep others from referring to the rows, which are about to go."""
    return _saying(kind, statement.with_for_update(skip_locked=skip_locked), skip_locked)


def shared(kind: Table, statement: S) -> S:
    """As :func:`held`, for who only wants the rows to stay as they are; several may at once."""
    return _saying(kind, statement.with_for_update(read=True))


def _saying(kind: Table, statement: S, skip_locked: bool = False) -> S:
    return statement.execution_options(**{SAID: _of_select(PLACE[kind.name], skip_locked)})


@cache
def _of_select(place: int, skip_locked: bool) -> Locks:
    return Locks((place,), waits=not skip_locked)


def hold(connection: Connection, table: Table, *where: Where, skip_locked: bool = False) -> list[Any]:
    """Keep others from writing rows until the transaction ends; return their ids, in order."""
    statement = select(table.c.id).where(*where).order_by(table.c.id)
    return list(connection.execute(held(table, statement, skip_locked=skip_locked)).scalars())


def hold_to_delete(
    connection: Connection, table: Table, *where: Where, skip_locked: bool = False
) -> list[Any]:
    """As :func:`hold`, and keep others from referring to the rows, which are about to go."""
    statement = select(table.c.id).where(*where).order_by(table.c.id)
    return list(connection.execute(held_to_delete(table, statement, skip_locked=skip_locked)).scalars())


def refer(connection: Connection, table: Table, *where: Where) -> None:
    """Keep rows from being deleted: to be called before what refers to them is written, if that comes out of order."""
    if are_of_rows(connection):
        statement = select(table.c.id).where(*where).order_by(table.c.id)
        connection.execute(_saying(table, statement.with_for_update(read=True, key_share=True)))


def remove(connection: Connection, table: Table, *where: Where) -> int:
    """Delete rows, locking them by id first; return how many there were."""
    if are_of_rows(connection):
        key = table.primary_key.columns
        found = connection.execute(held_to_delete(table, select(*key).where(*where).order_by(*key))).all()
        if not found:
            return 0  # as most often: to plan a second statement takes longer than to carry out the first
    return connection.execute(delete(table).where(*where)).rowcount
