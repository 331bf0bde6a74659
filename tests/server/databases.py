"""Make databases, and say all that is in one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, inspect, select, text
from sqlalchemy.engine import Connection

from headrace.server.store import logs, partitions, tables, tallies
from headrace.server.store.database import Database, read_url
from headrace.server.store.history import history_of, state_of
from headrace.server.store.streams import STREAMS, Stream


@contextlib.contextmanager
def emptied(url: str, home: Path, *, direct: bool = False) -> Iterator[Database]:
    """Give an empty database at ``url``, or in ``home``."""
    if url:
        _empty(url, home)
    database = Database.open(url, home, direct=direct)
    try:
        yield database
    finally:
        database.close()


def _empty(url: str, home: Path) -> None:
    engine = create_engine(read_url(url, home))
    with engine.begin() as connection:
        if inspect(connection).has_table(tables.flows.name):
            names = ", ".join(table.name for table in tables.metadata.sorted_tables)
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
            for stream in STREAMS:
                _divide_anew(connection, stream)
    engine.dispose()


def _divide_anew(connection: Connection, stream: Stream) -> None:
    """Let partitions begin today, where a test before had some of other days made."""
    there, now_us = partitions.partitions(connection, stream), partitions.clock_us(connection)
    if any(one.is_dated and (one.end_us or 0) <= now_us for one in there):
        for one in there:
            connection.execute(text(f"DROP TABLE {one.name}"))
        partitions.lay_out(connection, stream, now_us, now_us)


def clear(database: Database) -> None:
    """Take everything out of a database: before each example of a property."""

    def work(connection: Connection) -> None:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(text(f"DELETE FROM {table.name}"))

    database.write(work)


def untrue_tallies(database: Database) -> list[str]:
    """Say where the tallies of a database differ from its runs."""
    with database.read() as connection:
        return list(tallies.differences(connection))


# When a row was written and how far a journal was seen depend on the way, and may.
_OF_THE_WAY = {"updated_us", "last_seen_us", "leased"}


def contents(database: Database) -> dict[str, Any]:
    """Return everything that journals told a database, in words that do not depend on how it is stored."""
    with database.read() as connection:
        told: dict[str, Any] = {}
        for table in (tables.flows, tables.flow_runs, tables.task_runs, tables.journals, tables.commands):
            rows = connection.execute(select(table).order_by(table.c.id)).mappings()
            told[table.name] = [_told(dict(row)) for row in rows]
        told["logs"] = sorted(logs.query(connection, logs.LogFilter(), limit=1_000_000))
    return told


def _told(row: dict[str, Any]) -> dict[str, Any]:
    if "history" in row:
        row["state"], row["history"] = state_of(row), history_of(row)
    return {name: value for name, value in row.items() if name not in _OF_THE_WAY}


class Death(BaseException):
    """The process died here."""


@contextlib.contextmanager
def dying(database: Database, before: int) -> Iterator[list[int]]:
    """Let a writing process die before statement number ``before``; the list given holds its number if it did."""
    count = 0
    died: list[int] = []

    def execute(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == before:
            died.append(before)
            raise Death

    engine = database._engine
    event.listen(engine, "before_cursor_execute", execute)
    try:
        with contextlib.suppress(Death):
            yield died
    finally:
        event.remove(engine, "before_cursor_execute", execute)
