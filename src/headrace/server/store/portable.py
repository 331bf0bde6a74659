"""Rows as they are the same in every database: what a backup holds and what a copy carries over."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    Uuid,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from .columns import Id, id_bytes
from .tables import metadata

Row = tuple[Any, ...]
"""A row's values in the order of its shape's columns: text, whole numbers, booleans, bytes and ``None``."""

_PAGE = 500
"""Rows read and written at once: few enough to be held in memory, many enough to pay for a transaction."""

_PAGES = {"log_chunks": 50}  # rows of up to a few hundred kilobytes


class RawId(TypeDecorator[bytes]):
    """A UUID as its 16 bytes, whichever type the database has for it."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type."""
        own: TypeEngine[Any] = LargeBinary(16) if dialect.name == "sqlite" else Uuid()
        return dialect.type_descriptor(own)

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> Any:
        """Turn bytes into what the database stores."""
        return value if value is None or dialect.name == "sqlite" else uuid.UUID(bytes=value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        """Turn what the database stores into bytes."""
        raw: bytes | None = value if value is None or dialect.name == "sqlite" else id_bytes(value)
        return raw


_TYPES: dict[str, type[TypeEngine[Any]]] = {
    "id": RawId, "text": Text, "int": BigInteger, "bool": Boolean, "bytes": LargeBinary,
}  # fmt: skip


class Shape(NamedTuple):
    """A table as a backup describes it."""

    name: str
    columns: tuple[tuple[str, str], ...]
    """Names, each with its kind: ``id``, ``text``, ``int``, ``bool`` or ``bytes``."""
    key: tuple[str, ...]
    """The primary key: the order in which rows are read."""


class Sum(NamedTuple):
    """What tells whether two tables hold the same rows, in whatever order."""

    rows: int
    digest: int
    """The sum of the rows' digests, modulo 2**64."""

    def plus(self, rows: Iterable[bytes]) -> Sum:
        """Return the sum with encoded rows added."""
        count, digest = self
        for row in rows:
            count += 1
            digest += int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "big")
        return Sum(count, digest % 2**64)


NOTHING = Sum(0, 0)

encode = msgspec.msgpack.Encoder().encode
"""Return a row's bytes; the same in every database for the same row."""

decode: msgspec.msgpack.Decoder[Row] = msgspec.msgpack.Decoder(Row)


def shapes_in(connection: Connection) -> list[Shape]:
    """Return the shapes of our tables that a database has, those first that others refer to.

    A database of an older revision lacks columns and tables, which is fine.
    """
    found = inspect(connection)
    names = set(found.get_table_names())
    return [
        _shape(table, {column["name"] for column in found.get_columns(table.name)})
        for table in metadata.sorted_tables
        if table.name in names
    ]


def shapes() -> list[Shape]:
    """Return the shapes of today's tables, in the same order."""
    return [_shape(table, {column.name for column in table.columns}) for table in metadata.sorted_tables]


def _shape(table: Table, there: set[str]) -> Shape:
    columns = tuple((str(c.name), _kind(c)) for c in table.columns if c.name in there)
    return Shape(str(table.name), columns, tuple(str(c.name) for c in table.primary_key.columns))


def _kind(column: Column[Any]) -> str:
    if isinstance(column.type, Id):
        return "id"
    if isinstance(column.type, LargeBinary):
        return "bytes"
    if isinstance(column.type, Boolean):
        return "bool"
    return "int" if column.type.python_type is int else "text"


@lru_cache(maxsize=64)
def _table(shape: Shape) -> Table:
    columns = [Column(name, _TYPES[kind], primary_key=name in shape.key) for name, kind in shape.columns]
    return Table(shape.name, MetaData(), *columns)


def pages(connection: Connection, shape: Shape, after: Sequence[Any] | None = None) -> Iterator[list[Row]]:
    """Yield a table's rows, some hundred at a time, in the order of its key, from behind the key ``after``."""
    size = _PAGES.get(shape.name, _PAGE)
    while rows := [tuple(row) for row in connection.execute(_next_page(shape, size, after))]:
        yield rows
        if len(rows) < size:
            return
        after = key_of(shape, rows[-1])


def _next_page(shape: Shape, size: int, after: Sequence[Any] | None) -> Select[Any]:
    table = _table(shape)
    key = [table.c[name] for name in shape.key]
    statement = select(table).order_by(*key).limit(size)
    if after is None:
        return statement
    values = [literal(value, column.type) for value, column in zip(after, key, strict=True)]
    return statement.where(key[0] > values[0] if len(key) == 1 else tuple_(*key) > tuple_(*values))


def key_of(shape: Shape, row: Row) -> Row:
    """Return a row's primary key."""
    names = [name for name, _ in shape.columns]
    return tuple(row[names.index(name)] for name in shape.key)


def put(connection: Connection, shape: Shape, rows: Sequence[Row]) -> None:
    """Insert rows as they are, ids and counted numbers included."""
    names = [name for name, _ in shape.columns]
    if rows:
        connection.execute(insert(_table(shape)), [dict(zip(names, row, strict=True)) for row in rows])


def sum_of(connection: Connection, shape: Shape) -> Sum:
    """Read a whole table and return its sum."""
    total = NOTHING
    for rows in pages(connection, shape):
        total = total.plus(map(encode, rows))
    return total


def counters(connection: Connection) -> dict[str, int]:
    """Return the highest number that each table with counted ids ever gave, ``{table: number}``."""
    return {str(table.name): _counter(connection, table) for table in _counted(connection)}


def set_counters(connection: Connection, highest: dict[str, int]) -> None:
    """Let tables with counted ids go on behind these numbers: an id that was given once is never given again."""
    for table in _counted(connection):
        number = max(highest.get(table.name, 0), _highest(connection, table))
        if number and connection.dialect.name != "sqlite":
            of = func.pg_get_serial_sequence(table.name, "id")
            connection.execute(select(func.setval(of, number)))
        elif number and _counts(table):
            where = {"name": table.name, "number": number}
            connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), where)
            connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)"), where)


def _counted(connection: Connection) -> list[Table]:
    there = set(inspect(connection).get_table_names())
    return [
        table
        for table in metadata.sorted_tables
        if table.name in there and table.autoincrement_column is not None
    ]


def _counts(table: Table) -> bool:
    """Say whether SQLite keeps the highest number given; elsewhere it goes on behind the highest that is there."""
    return bool(table.dialect_options["sqlite"]["autoincrement"])


def _highest(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.max(table.c.id))).scalar() or 0


def _counter(connection: Connection, table: Table) -> int:
    if connection.dialect.name != "sqlite":
        last = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id')::regclass)")
        return connection.execute(last, {"name": table.name}).scalar() or 0
    if _counts(table):
        statement = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return connection.execute(statement, {"name": table.name}).scalar() or 0
    return _highest(connection, table)
