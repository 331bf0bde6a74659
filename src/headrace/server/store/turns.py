"""Each transaction takes kinds of rows in their turn: what comes too late by ``locks.ORDER`` is not carried out.

Every statement of an engine that is watched is looked at before it is sent. It waits for the kinds of row that it
locks: SELECT ... FOR says them (``locks.held`` and the like), INSERT, UPDATE and DELETE have their table's, with those
that their foreign keys refer to or take with them. None may come before a kind that the transaction has locked
already, unless it has locked that kind, too, when its turn was.

This is about kinds. Which rows of a kind, and whether by id, ``tests/server/store/test_lock_order.py`` sees to, which
records the rows themselves.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Engine, Table, event
from sqlalchemy.engine import Connection

from .locks import ORDER, PLACE, SAID, Locks
from .tables import metadata

_TURN = "headrace_turn"
"""Where a connection keeps what its transaction has locked."""


class OutOfTurn(RuntimeError):
    """A transaction wants rows of a kind whose turn is over: a defect, which could end in a deadlock."""


class _Turn:
    """What a transaction has locked so far, by places in the order."""

    __slots__ = ("kinds", "last")

    def __init__(self) -> None:
        self.kinds: set[int] = set()
        self.last = -1

    def take(self, locks: Locks) -> None:
        """Let a statement lock what it locks.

        Raises:
            OutOfTurn: some of that comes too late.
        """
        for place in locks.places:
            if place < self.last and locks.waits and not (locks.again and place in self.kinds):
                raise OutOfTurn(
                    f"A transaction that has locked rows of {ORDER[self.last].name} wants to lock rows of {ORDER[place].name}, "
                    "which come before them (store/locks.py). Nothing was done. Lock them first."
                )
        self.kinds.update(locks.places)
        self.last = max(self.last, *locks.places, -1)
        if locks.makes is not None:
            self.kinds.add(locks.makes)


def watch(engine: Engine) -> None:
    """Have every statement of an engine looked at."""
    event.listen(engine, "begin", _begin)
    event.listen(engine, "before_cursor_execute", _look)


def _begin(connection: Connection) -> None:
    """Let a transaction begin with nothing locked."""
    connection.info[_TURN] = _Turn()


def _look(
    connection: Connection, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool
) -> None:
    locks = context.execution_options.get(SAID)
    if locks is None and context.compiled is not None:
        if context.isinsert:
            locks = of_insert(context.compiled.statement.table)
        elif context.isupdate or context.isdelete:
            locks = of_change(context.compiled.statement.table, deletes=context.isdelete)
    if locks is not None:
        connection.info[_TURN].take(locks)


@cache
def of_change(table: Table, *, deletes: bool = False) -> Locks:
    """Return what a statement locks that changes rows of a table, or deletes them."""
    return Locks(_places(table, *(_taken_with(table) if deletes else ())), again=True)


@cache
def of_insert(table: Table, *, meets: bool | None = None) -> Locks:
    """Return what a statement locks that inserts rows: those they refer to and, if it ``meets`` any, those of their keys.

    Whoever inserts a key that another transaction has just inserted waits for that. By themselves, ids never meet.
    """
    referred = [key.column.table for key in table.foreign_keys]
    if _has_keys(table) if meets is None else meets:
        return Locks(_places(*referred, table), again=True)
    return Locks(_places(*referred), again=True, makes=PLACE.get(table.name))


def _has_keys(table: Table) -> bool:
    """Say whether rows of a table are told apart by more than their ids."""
    unique = any(index.unique for index in table.indexes) or any(column.unique for column in table.columns)
    return unique or [column.name for column in table.primary_key] != ["id"]


def _places(*tables: Table) -> tuple[int, ...]:
    return tuple(sorted({PLACE[table.name] for table in tables if table.name in PLACE}))


def _taken_with(table: Table) -> list[Table]:
    """Return the tables of which rows go, or are changed, with rows of a table."""
    found: list[Table] = []
    for other in metadata.tables.values():
        for key in other.foreign_keys:
            if key.column.table is table:
                found += [other, *(_taken_with(other) if key.ondelete == "CASCADE" else ())]
    return found
