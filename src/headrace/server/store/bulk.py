"""Inserting and changing many rows: SQLAlchemy's own words, without its work for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Table, Update, bindparam, insert, update
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeEngine

from . import turns
from .locks import SAID

_Convert = Callable[[Any], Any] | None

_AT_ONCE = 1_000
"""Rows in one document."""

_TOGETHER = 10
"""Rows in one statement on SQLite. A trigger makes each statement be undoable by itself, which costs more than a row:
90 µs instead of 35 for one alone, and nothing that can be measured for ten. All their values stay below the 999 that an
old SQLite takes."""


class _Prepared(NamedTuple):
    head: str
    """The statement up to the values of its rows."""
    row: str
    """Where one row's values go."""
    pick: Callable[[dict[str, Any]], tuple[Any, ...]]
    """Returns a row's values in the statement's order."""
    converts: tuple[_Convert, ...]
    """How each value becomes what the driver takes; ``None``: it is that already."""
    defaults: dict[str, Any]
    """Values of the columns that rows do not name."""


def alike(rows: Iterable[Mapping[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """Put together rows that name the same columns, in whatever order, as the functions below take them."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(sorted(row)), []).append(dict(sorted(row.items())))
    return found.values()


def insert_many(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all name the same columns, in their order. Column defaults apply as usual.

    It takes a half (SQLite) or a third (PostgreSQL) of the time of ``connection.execute(insert(table), rows)``, which
    works the parameters of each row out anew; for ten thousand rows a second that counts.
    """
    if not rows:
        return
    dialect = connection.dialect
    if dialect.name == "postgresql":
        _insert_document(connection, table, rows)
        return
    prepared = _prepared(dialect, table, tuple(rows[0]))
    pick, converts, defaults = prepared.pick, prepared.converts, prepared.defaults
    if defaults:
        rows = [defaults | row for row in rows]
    converted = [
        [
            value if convert is None or value is None else convert(value)
            for convert, value in zip(converts, pick(row), strict=True)
        ]
        for row in rows
    ]
    _insert_rows(connection, prepared, converted)


def _insert_rows(connection: Connection, prepared: _Prepared, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows of values by statements of :data:`_TOGETHER` rows, and one of those that are left."""
    whole = len(rows) - len(rows) % _TOGETHER
    groups = [rows[start : start + _TOGETHER] for start in range(0, whole, _TOGETHER)]
    for some in (groups, [rows[whole:]]):
        if some and some[0]:
            text = prepared.head + ", ".join([prepared.row] * len(some[0]))
            connection.exec_driver_sql(text, [tuple(chain.from_iterable(group)) for group in some])


def _insert_document(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows by statements with one value: a JSON document of a thousand of them.

    PostgreSQL takes each row of a list of parameters as a statement of its own, at four times the cost to it. A
    thousand rows fit into its working memory; more could go by way of a file.
    """
    text, converts, defaults = _of_document(connection.dialect, table, tuple(rows[0]))
    for start in range(0, len(rows), _AT_ONCE):
        document = _document(rows[start : start + _AT_ONCE], converts, defaults)
        connection.exec_driver_sql(text, (document,), {SAID: turns.of_insert(table)})


def _document(
    rows: Sequence[dict[str, Any]], converts: tuple[tuple[str, _Convert], ...], defaults: dict[str, Any]
) -> str:
    """Return the JSON of rows; what it does not name is NULL."""
    document = [
        {
            name: value if convert is None else convert(value)
            for name, convert in converts
            if (value := row[name]) is not None
        }
        | defaults
        for row in rows
    ]
    return msgspec.json.encode(document).decode()


@lru_cache(maxsize=64)
def _of_document(
    dialect: Dialect, table: Table, given: tuple[str, ...]
) -> tuple[str, tuple[tuple[str, _Convert], ...], dict[str, Any]]:
    """Return the statement, how each given value is written in the document, and what columns have that are not given."""
    defaults = _defaults(table, given)
    quote = dialect.identifier_preparer.quote
    types = {name: table.c[name].type.dialect_impl(dialect) for name in (*given, *defaults)}
    names = ", ".join(map(quote, types))
    text = f"INSERT INTO {quote(table.name)} ({names}) SELECT {names} FROM {_recordset(dialect, types)}"
    return text, tuple((name, types[name].bind_processor(dialect)) for name in given), defaults


def _recordset(dialect: Dialect, types: Mapping[str, TypeEngine[Any]]) -> str:
    """Return what stands for the rows of a document, ``made``, given its columns."""
    quote = dialect.identifier_preparer.quote
    columns = ", ".join(f"{quote(name)} {kind.compile(dialect)}" for name, kind in types.items())
    return f"json_to_recordset(%s::json) AS made({columns})"


_FEW = 4
"""Rows up to which PostgreSQL is as fast with a statement for each."""


def update_many(
    connection: Connection, table: Table, key: tuple[str, ...], rows: Sequence[dict[str, Any]]
) -> None:
    """Change rows that are there and that the transaction holds already; ``rows`` all name the same columns.

    A row is the one whose ``key`` columns are equal, or NULL as well; they keep their values. Many at once take half
    of the time (PostgreSQL) of a statement for each.
    """
    if not rows:
        return
    given = tuple(rows[0])
    if connection.dialect.name == "postgresql" and len(rows) > _FEW:
        text, converts = _of_changes(connection.dialect, table, key, given)
        for start in range(0, len(rows), _AT_ONCE):
            some = _document(rows[start : start + _AT_ONCE], converts, {})
            connection.exec_driver_sql(text, (some,), {SAID: turns.of_change(table)})
        return
    connection.execute(
        _update(table, key, given), [{f"{name}_": value for name, value in row.items()} for row in rows]
    )


@lru_cache(maxsize=64)
def _update(table: Table, key: tuple[str, ...], given: tuple[str, ...]) -> Update:
    same = [table.c[name].is_not_distinct_from(bindparam(f"{name}_")) for name in key if name != "id"]
    return (
        update(table)
        .where(table.c.id == bindparam("id_"), *same)
        .values({name: bindparam(f"{name}_") for name in given if name not in key})
    )


@lru_cache(maxsize=64)
def _of_changes(
    dialect: Dialect, table: Table, key: tuple[str, ...], given: tuple[str, ...]
) -> tuple[str, tuple[tuple[str, _Convert], ...]]:
    quote = dialect.identifier_preparer.quote
    types = {name: table.c[name].type.dialect_impl(dialect) for name in given}
    changed = ", ".join(f"{quote(name)} = made.{quote(name)}" for name in given if name not in key)
    own = quote(table.name)
    same = [f"{own}.{quote(name)} IS NOT DISTINCT FROM made.{quote(name)}" for name in key if name != "id"]
    where = " AND ".join([f"{own}.id = made.id", *same])
    text = f"UPDATE {own} SET {changed} FROM {_recordset(dialect, types)} WHERE {where}"
    return text, tuple((name, types[name].bind_processor(dialect)) for name in given)


@lru_cache(maxsize=64)
def _prepared(dialect: Dialect, table: Table, given: tuple[str, ...]) -> _Prepared:
    defaults = _defaults(table, given)
    compiled = insert(table).compile(dialect=dialect, column_keys=[*given, *defaults])
    names = tuple(compiled.positiontup or ())
    converts = tuple(table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names)
    head, values, row = str(compiled).partition("VALUES ")
    return _Prepared(head + values, row, itemgetter(*names), converts, defaults)


def _defaults(table: Table, given: tuple[str, ...]) -> dict[str, Any]:
    return {
        column.name: column.default.arg  # type: ignore[attr-defined]  # tables.py has plain values only
        for column in table.columns
        if column.default is not None and column.name not in given
    }
