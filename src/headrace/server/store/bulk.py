"""Inserting many rows: SQLAlchemy's own words, without its work for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Table, insert
from sqlalchemy.engine import Connection, Dialect

_Convert = Callable[[Any], Any] | None


class _Prepared(NamedTuple):
    text: str
    pick: Callable[[dict[str, Any]], tuple[Any, ...]]
    """Returns a row's values in the statement's order."""
    converts: tuple[_Convert, ...]
    """How each value becomes what the driver takes; ``None``: it is that already."""
    defaults: dict[str, Any]
    """Values of the columns that rows do not name."""


def insert_many(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all name the same columns. Column defaults apply as usual.

    It takes half the time of ``connection.execute(insert(table), rows)``, which works the parameters of each
    row out anew; for ten thousand rows a second that counts.
    """
    if not rows:
        return
    dialect = connection.dialect
    if not dialect.positional:  # the driver wants names: a case where plain words are fast enough
        connection.execute(insert(table), rows)
        return
    text, pick, converts, defaults = _prepared(dialect, table, tuple(rows[0]))
    if defaults:
        rows = [defaults | row for row in rows]
    converted = [
        [
            value if convert is None or value is None else convert(value)
            for convert, value in zip(converts, pick(row), strict=True)
        ]
        for row in rows
    ]
    connection.exec_driver_sql(text, list(map(tuple, converted)))


@lru_cache(maxsize=64)
def _prepared(dialect: Dialect, table: Table, given: tuple[str, ...]) -> _Prepared:
    defaults = {
        column.name: column.default.arg  # type: ignore[attr-defined]  # tables.py has plain values only
        for column in table.columns
        if column.default is not None and column.name not in given
    }
    compiled = insert(table).compile(dialect=dialect, column_keys=[*given, *defaults])
    names = tuple(compiled.positiontup or ())
    converts = tuple(table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names)
    return _Prepared(str(compiled), itemgetter(*names), converts, defaults)
