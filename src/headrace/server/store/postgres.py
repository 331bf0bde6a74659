"""What only PostgreSQL does so; ``store/sqlite.py`` holds the same names for SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, cast, create_engine, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT, Insert, array, insert
from sqlalchemy.engine import URL, Connection

from headrace.errors import SettingError

from .tables import metadata

try:
    import psycopg
except ImportError as error:  # the package, or the C library it works with
    raise SettingError(
        f"database_url names a PostgreSQL database, and its driver cannot be loaded ({error}). Install it with: "
        "pip install 'headrace[postgres]'"
    ) from error

for _table in metadata.tables.values():
    for _index in _table.indexes:
        if "where" in _index.info:
            _index.dialect_options["postgresql"]["where"] = _index.info["where"]

_PASSING = frozenset(("40001", "40P01", "53300", "57P01", "57P02", "57P03"))
"""Serialization failure, deadlock, too many connections; the server is told to end, crashed, or starts."""

_CONNECTING = {
    "connect_timeout": 10,
    "application_name": "headrace",
    # A plan that was made for an empty table reads the whole of it until PostgreSQL next counts its rows: a
    # new database took 600 task runs a second in its first minute, and 8,000 with a plan for each statement.
    "options": "-c plan_cache_mode=force_custom_plan",
}
"""What libpq is told unless the URL says otherwise; seconds."""

_SCHEMA_LOCK = 0x6865616472616365
"""Advisory lock: whoever makes or changes the tables holds it. Any number that nobody else takes would do."""


def upsert(table: Table) -> Insert:
    """Return an INSERT that can be given ``on_conflict_do_*``."""
    return insert(table)


def open_engine(url: URL, *, writer: bool, pool_size: int, cache_kib: int) -> Engine:  # noqa: ARG001  # SQLite's cache
    """Return an engine; a reader's transactions see one moment and cannot write."""
    options = {} if writer else {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=60,
        pool_pre_ping=True,
        connect_args={name: value for name, value in _CONNECTING.items() if name not in url.query},
        execution_options=options,
    )


def prepare_file(connection: Connection) -> None:
    """Do nothing: the server keeps its own files."""


def hold_schema(connection: Connection) -> None:
    """Let no other process make or change tables until the transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))


def is_busy(error: BaseException) -> bool:
    """Say whether an error of the driver passes by itself: a deadlock, a lost race, a connection that is gone."""
    if getattr(error, "sqlstate", None) in _PASSING:
        return True
    # What the driver says without the server (a connection refused, cut, timed out) has no code.
    lost = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    return lost and not is_too_much(error)


def is_too_much(error: BaseException) -> bool:
    """Say whether a statement had more values than the protocol takes."""
    return isinstance(error, psycopg.OperationalError) and "number of parameters" in str(error)


def why_unusable(error: BaseException) -> str | None:
    """Return what keeps a database from being opened, and what to do; ``None``: it is none of the known reasons."""
    if not isinstance(error, psycopg.Error):
        return None
    said = " ".join(str(error).split())
    return (
        f"{said.removesuffix('.')}. HEADRACE_DATABASE_URL names it: is PostgreSQL running there, does the database "
        "exist (createdb makes one), and may this user connect and make tables in it?"
    )


def tags_all(column: ColumnElement[Any], tags: Sequence[str]) -> ColumnElement[bool]:
    """Match rows that carry every one of ``tags``."""
    return cast(cast(column, TEXT), JSONB).op("?&")(cast(array(tags), ARRAY(TEXT)))


def tags_any(column: ColumnElement[Any], tags: Sequence[str]) -> ColumnElement[bool]:
    """Match rows that carry one of ``tags`` at least."""
    return cast(cast(column, TEXT), JSONB).op("?|")(cast(array(tags), ARRAY(TEXT)))


def tags_none(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Match rows without any tag."""
    return column.is_(None) | (func.jsonb_array_length(cast(cast(column, TEXT), JSONB)) == 0)
