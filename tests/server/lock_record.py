"""Which rows each transaction on PostgreSQL really locks, and in which order: seen in the rows' own headers.

After every statement all rows are looked at: one whose ``xmin`` or ``xmax`` is the transaction's number, or that is
gone, is one that it holds: by ``SELECT ... FOR``, ``UPDATE`` and ``DELETE``, by a foreign key's check and by what a
DELETE takes with it. Rows that the transaction made itself are nobody's to wait for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection

from headrace.server.store import locks
from headrace.server.store.database import Database


class Row(NamedTuple):
    """A row by its place in the order: kind, then id."""

    rank: int
    key: Any

    def __str__(self) -> str:
        """Return it in words."""
        return f"{locks.ORDER[self.rank].name} {self.key}"


class Step(NamedTuple):
    """A statement that locked rows."""

    statement: str
    rows: tuple[Row, ...]
    waits: bool
    """Whether it waits for rows that others hold."""
    ordered: bool
    """Whether it takes its rows by id."""


class Transaction:
    """What one transaction has locked so far."""

    def __init__(self, there: set[Row]) -> None:
        self.there = there
        self.held: set[Row] = set()
        self.steps: list[Step] = []

    def violations(self) -> list[str]:
        """Return each step back, in words."""
        found: list[str] = []
        highest: Row | None = None
        for step in self.steps:
            first = min(step.rows)
            if step.waits and highest is not None and first < highest:
                found.append(f"waits for {first} while it holds {highest}: {step.statement}")
            if step.waits and len(step.rows) > 1 and not step.ordered:
                found.append(f"takes {len(step.rows)} rows in no order: {step.statement}")
            highest = max(step.rows) if highest is None else max(highest, *step.rows)
        return found


class LockRecord:
    """Watch the writing transactions of a database, which nobody else writes meanwhile."""

    def __init__(self, engine: Engine) -> None:
        self.transactions: list[Transaction] = []
        self._engine = engine
        self._open: dict[int, Transaction] = {}

    def violations(self) -> list[str]:
        """Return each step back of any transaction so far, in words."""
        return [text for one in self.transactions for text in one.violations()]

    def kinds(self) -> set[str]:
        """Return the tables of which rows were locked so far."""
        return {
            locks.ORDER[row.rank].name for one in self.transactions for step in one.steps for row in step.rows
        }

    def begin(self, connection: Connection, *_: Any) -> None:
        """See which rows there are before the first statement."""
        if id(connection) not in self._open:
            transaction = Transaction(set(_rows(connection)))
            self._open[id(connection)] = transaction
            self.transactions.append(transaction)

    def look(self, connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        """See which rows a statement has locked."""
        transaction = self._open[id(connection)]
        rows = _rows(connection)
        ours = {row for row in transaction.there if rows.get(row, True)} - transaction.held
        if not ours:
            return
        transaction.held |= ours
        transaction.steps.append(
            Step(
                statement, tuple(ours), "SKIP LOCKED" not in statement, _ordered(statement, parameters, ours)
            )
        )

    def end(self, connection: Connection) -> None:
        """Forget a transaction that is over."""
        self._open.pop(id(connection), None)


@contextlib.contextmanager
def recording(database: Database) -> Iterator[LockRecord]:
    """Record what the writes of a database lock; nothing of it is left afterwards."""
    record = LockRecord(database._engine)
    listeners = [
        ("before_cursor_execute", record.begin),
        ("after_cursor_execute", record.look),
        ("commit", record.end),
        ("rollback", record.end),
    ]
    for name, listener in listeners:
        event.listen(database._engine, name, listener)
    try:
        yield record
    finally:
        for name, listener in listeners:
            event.remove(database._engine, name, listener)


def _rows(connection: Connection) -> dict[Row, bool]:
    """Return all rows there are, and whether the transaction holds each."""
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
        return {Row(rank, _key(key)): held for rank, key, held in cursor.execute(_QUERY).fetchall()}


def _of_table(rank: int) -> str:
    table = locks.ORDER[rank]
    key = " || ' ' || ".join(f"{column.name}::text" for column in table.primary_key.columns)
    if table.name == "workers":  # they are taken by pool and name, which are unique
        key = "work_pool_id::text || ' ' || name"
    mine = "(pg_current_xact_id()::text)"
    return f"SELECT {rank}, {key}, xmin::text = {mine} OR xmax::text = {mine} FROM {table.name}"


_QUERY = " UNION ALL ".join(_of_table(rank) for rank in range(len(locks.ORDER)))


def _key(text: str) -> Any:
    return f"{int(text):020d}" if text.isdigit() else text


def _ordered(statement: str, parameters: Any, rows: set[Row]) -> bool:
    if re.match(r"\s*SELECT", statement):
        return "ORDER BY" in statement
    if not isinstance(parameters, list):
        return False
    keys = [str(one.get("row")) for one in parameters]
    return keys == sorted(keys)
