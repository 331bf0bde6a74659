"""What only SQLite does so; ``store/postgres.py`` holds the same names for PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, create_engine, event, func, literal, select
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import OperationalError

BUSY_TIMEOUT_MS = 60_000
"""How long a statement waits for another process's write: companions write one after the other."""

READERS = 16
"""Connections for reading: as many as threads of a server are worth letting read at once."""


def pool_sizes(connections: int) -> tuple[int, int]:  # noqa: ARG001  # PostgreSQL's, whose connections are few
    """Return how many connections write and read: there is one writer anyhow, so many writes share its transactions."""
    return 1, READERS


def upsert(table: Table) -> Insert:
    """Return an INSERT that can be given ``on_conflict_do_*``."""
    return insert(table)


def open_engine(url: URL, *, writer: bool, pool_size: int, cache_kib: int) -> Engine:
    """Return an engine whose transactions begin IMMEDIATE (writer) or cannot write at all (reader)."""
    engine = create_engine(url, pool_size=pool_size, max_overflow=0, pool_timeout=60)
    engine.dialect.statement_compiler = _Compiler

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


class _Compiler(SQLiteCompiler):
    """Writes down which index a statement names (``tables.walking``)."""

    def get_from_hint_text(self, table: Any, text: Any) -> Any:  # noqa: ARG002  # the signature is SQLAlchemy's
        """Return what stands behind the table's name."""
        return text


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
    connection.execute("PRAGMA temp_store=MEMORY")


def prepare_file(connection: Connection) -> None:
    """Put a new file in write-ahead mode and let it give space back, which both last; not in a transaction."""
    driver = connection.connection.driver_connection
    assert driver is not None
    if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        driver.execute("PRAGMA auto_vacuum=INCREMENTAL")  # heeded in a file without tables only
        driver.execute("PRAGMA journal_mode=WAL")


_KEEP_FREE = 1_000
"""Pages (4 KiB each) that a file keeps for what comes next, however small it is."""


def has_room_to_give(connection: Connection) -> bool:
    """Say whether more than a tenth of the file is unused, and it can be made shorter.

    A file of which as much is deleted as is added keeps its size. One that was made before files could give
    space back (``auto_vacuum``) uses what is free again and stays as long as it is.
    """
    return _pragma(connection, "auto_vacuum") == _INCREMENTAL and _pragma(
        connection, "freelist_count"
    ) > _kept(connection)


_INCREMENTAL = 2


def give_room(connection: Connection, enough: Callable[[], bool]) -> int:
    """Make the file shorter, page by page, one at least, until ``enough`` says so; return by how many bytes."""
    before = _pragma(connection, "page_count")
    surplus = _pragma(connection, "freelist_count") - _kept(connection)
    while surplus > 0:
        # One page at a time: Python's driver takes one step of the statement, whatever number it names.
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
        surplus -= 1
        if enough():
            break
    return (before - _pragma(connection, "page_count")) * _pragma(connection, "page_size")


def _kept(connection: Connection) -> int:
    return max(_KEEP_FREE, _pragma(connection, "page_count") // 10)


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())


def walk_indexes(connection: Connection) -> None:
    """Do nothing: it walks one wherever one serves."""


def broken(connection: Connection) -> Iterator[str]:
    """Yield what is wrong with the file, and what refers to a row that is not there."""
    for (found,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if found != "ok":
            yield f"The file is damaged: {found}."
    for table, row, parent, _number in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"Row {row} of {table} refers to a row of {parent} that is not there."


def index_names(connection: Connection) -> set[str]:
    """Return the names of all indexes."""
    statement = "SELECT name FROM sqlite_master WHERE type = 'index'"
    return set(connection.exec_driver_sql(statement).scalars())


def table_bytes(connection: Connection) -> dict[str, int]:
    """Return what each table takes with its indexes; nothing where SQLite was built without ``dbstat``."""
    statement = (
        "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat AS s JOIN sqlite_master AS m ON m.name = s.name "
        "WHERE s.aggregate = TRUE GROUP BY m.tbl_name"
    )
    try:
        return {row[0]: row[1] for row in connection.exec_driver_sql(statement)}
    except OperationalError as error:
        if "dbstat" not in str(error.orig):
            raise
        return {}


def bytes_at_most(connection: Connection, names: Sequence[str]) -> int:  # noqa: ARG001  # PostgreSQL's
    """Return what all that is in the file takes: to tell tables apart it would have to be read whole."""
    whole, free = whole_bytes(connection)
    return whole - free


def whole_bytes(connection: Connection) -> tuple[int, int]:
    """Return how long the file is, and how much of it is free."""
    page = _pragma(connection, "page_size")
    return page * _pragma(connection, "page_count"), page * _pragma(connection, "freelist_count")


def hold_schema(connection: Connection) -> None:
    """Do nothing: a writer's transaction holds the whole file from its beginning."""


LOCK_PATIENCE_S = 0.0


def is_in_the_way(error: BaseException) -> bool:  # noqa: ARG001  # PostgreSQL's
    """Return ``False``: who changes the tables has the whole file from the beginning."""
    return False


def is_busy(error: BaseException) -> bool:
    """Say whether an error of the driver passes by itself: the file was locked."""
    if not isinstance(error, sqlite3.OperationalError):
        return False
    text = str(error)
    return "locked" in text or "busy" in text


def is_refused(error: BaseException) -> bool:
    """Say whether the disk is full or fails, or the file cannot be written."""
    if not isinstance(error, sqlite3.OperationalError):
        return False
    return any(words in str(error) for words in ("disk is full", "readonly database", "disk I/O error"))


def is_race(error: BaseException) -> bool:  # noqa: ARG001  # PostgreSQL's
    """Return ``False``: nobody writes between what a writing transaction reads and what it writes."""
    return False


def is_stale(error: BaseException) -> bool:  # noqa: ARG001  # PostgreSQL's
    """Return ``False``: a file does not move to another server."""
    return False


LEAST_FREE_BYTES = 1_000_000
"""Where less of the disk is free, the next write may find no room: most take less, and a batch of a journal may not."""


def why_unwritable(engine: Engine) -> str | None:
    """Say why the file cannot be written, as far as that can be told without writing; ``None``: it can be."""
    file = Path(engine.url.database or "")
    if not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        return "The database's file, or its folder, cannot be written."
    disk = os.statvfs(file.parent)
    blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail  # the last are root's
    if disk.f_blocks and blocks * disk.f_frsize < LEAST_FREE_BYTES:
        return "The disk is full that the database's file lies on."
    return None


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
