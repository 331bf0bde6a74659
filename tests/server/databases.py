"""Make databases, and say all that is in one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, select, text

from headrace.server.store import logs, tables
from headrace.server.store.database import Database, read_url
from headrace.server.store.history import history_of, state_of

POSTGRES = os.environ.get("HEADRACE_TEST_POSTGRES_URL", "")
URLS = ["", POSTGRES] if POSTGRES else [""]


@contextlib.contextmanager
def emptied(url: str, home: Path, *, direct: bool = False) -> Iterator[Database]:
    """Give an empty database at ``url``, or in ``home``."""
    if url:
        engine = create_engine(read_url(url, home))
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
    database = Database.open(url, home, direct=direct)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def scratch() -> Iterator[Database]:
    """Give an empty SQLite database in a folder that goes with it: for each example of a property."""
    with tempfile.TemporaryDirectory() as folder, emptied("", Path(folder), direct=True) as database:
        yield database


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
