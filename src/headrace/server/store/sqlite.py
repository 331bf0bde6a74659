"""What only SQLite does so; ``store/postgres.py`` holds the same names for PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, create_engine, event, func, literal, select
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.engine import URL, Connection

BUSY_TIMEOUT_MS = 60_000
"""How long a statement waits for another process's write: companions write one after the other."""

_MMAP_BYTES = 256 * 1024 * 1024


def upsert(table: Table) -> Insert:
    """Return an INSERT that can be given ``on_conflict_do_*``."""
    return insert(table)


def open_engine(url: URL, *, writer: bool, pool_size: int, cache_kib: int) -> Engine:
    """Return an engine whose transactions begin IMMEDIATE (writer) or cannot write at all (reader)."""
    engine = create_engine(url, pool_size=pool_size, max_overflow=0, pool_timeout=60)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by its own rules
        prepare(connection, cache_kib=cache_kib)
        if not writer:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE: the write lock is taken at once, so no transaction fails half-way for having read first.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine


def prepare(connection: Any, *, cache_kib: int) -> None:
    """Set a connection up.

    NORMAL: with a write-ahead log the file is sound after any crash, and nothing committed is lost when a
    process or the server dies. A power cut may take the last commits; journals are resent from the offset
    that the database then holds, since hosts keep them for ``journals_keep`` days.
    """
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA cache_size={-cache_kib}")
    connection.execute(f"PRAGMA mmap_size={_MMAP_BYTES}")
    connection.execute("PRAGMA temp_store=MEMORY")


def prepare_file(connection: Connection) -> None:
    """Put a new file in write-ahead mode, which lasts; to be called outside a transaction."""
    driver = connection.connection.driver_connection
    assert driver is not None
    if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        driver.execute("PRAGMA journal_mode=WAL")


def hold_schema(connection: Connection) -> None:
    """Do nothing: a writer's transaction holds the whole file from its beginning."""


def is_busy(error: BaseException) -> bool:
    """Say whether an error of the driver passes by itself: the file was locked."""
    if not isinstance(error, sqlite3.OperationalError):
        return False
    text = str(error)
    return "locked" in text or "busy" in text


def is_too_much(error: BaseException) -> bool:
    """Say whether a statement had more values than SQLite takes."""
    return isinstance(error, sqlite3.OperationalError) and "too many SQL variables" in str(error)


def why_unusable(error: BaseException) -> str | None:  # noqa: ARG001  # PostgreSQL's
    """Return ``None``: what SQLite says of a file that it cannot open is said by those who asked for it."""
    return None


def tags_all(column: ColumnElement[Any], tags: Sequence[str]) -> ColumnElement[bool]:
    """Match rows that carry every one of ``tags``."""
    each = func.json_each(column).table_valued("value")
    found = select(func.count(func.distinct(each.c.value))).where(each.c.value.in_(tags)).scalar_subquery()
    return found == literal(len(set(tags)))


def tags_any(column: ColumnElement[Any], tags: Sequence[str]) -> ColumnElement[bool]:
    """Match rows that carry one of ``tags`` at least."""
    each = func.json_each(column).table_valued("value")
    return select(literal(1)).select_from(each).where(each.c.value.in_(tags)).exists()


def tags_none(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Match rows without any tag."""
    return column.is_(None) | (func.json_array_length(column) == 0)
