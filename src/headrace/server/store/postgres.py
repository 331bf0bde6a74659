"""What only PostgreSQL does so; ``store/sqlite.py`` holds the same names for SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, cast, create_engine, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT, Insert, array, insert
from sqlalchemy.engine import URL, Connection

from .tables import metadata

for _table in metadata.tables.values():
    for _index in _table.indexes:
        if "where" in _index.info:
            _index.dialect_options["postgresql"]["where"] = _index.info["where"]

_PASSING = frozenset(("40001", "40P01", "57P03", "53300"))
"""Serialization failure, deadlock, starting up, too many connections."""


def upsert(table: Table) -> Insert:
    """Return an INSERT that can be given ``on_conflict_do_*``."""
    return insert(table)


def open_engine(url: URL, *, writer: bool, pool_size: int, cache_kib: int) -> Engine:  # noqa: ARG001  # SQLite's cache
    """Return an engine; a reader's transactions cannot write."""
    options = {} if writer else {"postgresql_readonly": True}
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=60,
        pool_pre_ping=True,
        execution_options=options,
    )


def prepare_file(connection: Connection) -> None:
    """Do nothing: the server keeps its own files."""


def is_busy(error: BaseException) -> bool:
    """Say whether an error of the driver passes by itself: a deadlock, a lost race, a server that starts."""
    return getattr(error, "sqlstate", None) in _PASSING


def tags_all(column: ColumnElement[Any], tags: Sequence[str]) -> ColumnElement[bool]:
    """Match rows that carry every one of ``tags``."""
    return cast(cast(column, TEXT), JSONB).op("?&")(cast(array(tags), ARRAY(TEXT)))


def tags_any(column: ColumnElement[Any], tags: Sequence[str]) -> ColumnElement[bool]:
    """Match rows that carry one of ``tags`` at least."""
    return cast(cast(column, TEXT), JSONB).op("?|")(cast(array(tags), ARRAY(TEXT)))


def tags_none(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Match rows without any tag."""
    return column.is_(None) | (func.jsonb_array_length(cast(cast(column, TEXT), JSONB)) == 0)
