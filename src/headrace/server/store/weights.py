"""How much room rows take, about: by a sample, because to measure it a database would have to be read whole.

On PostgreSQL a table from which rows were deleted stays as large as it was. So what counts is not the table but the rows
that are there, and deleting some makes it less.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from operator import add
from types import ModuleType
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    LargeBinary,
    Table,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    sql,
    tablesample,
)
from sqlalchemy.engine import Connection

from . import partitions, tallies
from .columns import Id
from .partitions import Partition
from .streams import Stream
from .tables import flow_runs, task_runs

# A sample: of SQLite so many places in the order of rows, and rows at each; of PostgreSQL so many pages of so many bytes.
_PLACES, _AT_A_PLACE = 25, 20
_PAGES, _PAGE = 40, 8_192

_LOOK = 1_000

_Stored = Callable[[ColumnElement[Any]], ColumnElement[int]]
"""Returns how many bytes a value takes."""

# Bytes beside what columns hold, of a row and of an entry in an index, and how much of a page is in use.
_OF_POSTGRES = (32, 16, 0.85)
_OF_SQLITE = (20, 10, 0.85)


RUNS = (flow_runs.name, task_runs.name)
"""The tables that runs take room in."""


class OfRuns(NamedTuple):
    """Bytes that a run takes on average."""

    flow_run: float
    task_run: float


class Runs(NamedTuple):
    """All runs there are."""

    flows: int
    tasks: int
    bytes: float


class Part(NamedTuple):
    """A part of a stream: a partition, or on SQLite the whole table."""

    where: list[ColumnElement[bool]]
    """Matches its rows."""
    bytes: float
    over: Partition | None
    """Set for a partition whose time is over: it can be dropped. What lies elsewhere is deleted row by row."""


def of_runs(connection: Connection, kind: ModuleType) -> OfRuns:
    """Return what runs take, so that all of them together take no more than their tables do."""
    each = OfRuns(*(_mean(connection, _Rows(table, table.name)) for table in (flow_runs, task_runs)))
    taken, most = all_runs(connection, each).bytes, kind.bytes_at_most(connection, RUNS)
    scale = min(1.0, most / taken) if taken else 1.0
    return OfRuns(each.flow_run * scale, each.task_run * scale)


def all_runs(connection: Connection, each: OfRuns) -> Runs:
    """Return how many runs there are and what they take, by the tallies: it reads no run."""
    flows, tasks = (tallies.total(connection, _ALL, is_flow=is_flow) for is_flow in (True, False))
    return Runs(flows, tasks, flows * each.flow_run + tasks * each.task_run)


_ALL = tallies.Plan(None, None)


def parts(connection: Connection, stream: Stream) -> list[Part]:
    """Return the parts of a stream, the oldest first."""
    there = partitions.partitions(connection, stream)
    if not there:
        return [Part([], _living(connection, _Rows(stream.table, stream.table.name)), None)]
    now_us = partitions.clock_us(connection)
    return [_part(connection, stream, one, there, now_us) for one in there]


def _part(
    connection: Connection, stream: Stream, one: Partition, there: Sequence[Partition], now_us: int
) -> Part:
    where, whole = partitions.inside(stream, one, there), partitions.bytes_in(connection, one)
    if one.is_dated and one.end_us is not None and one.end_us <= now_us:
        return Part(where, whole, one)
    return Part(where, min(whole, _living(connection, _Rows(stream.table, one.name, where))), None)


def oldest(connection: Connection, stream: Stream, part: Part) -> list[tuple[Any, float]]:
    """Return a thousand rows of a part, about the oldest, with the bytes of each."""
    each = select(stream.table.c.id, _bytes(connection, stream.table)).where(*part.where)
    return [(id, size) for id, size in connection.execute(each.order_by(stream.order).limit(_LOOK))]


class _Rows(NamedTuple):
    """What is weighed: a table's rows, or those of one of its partitions."""

    table: Table
    name: str
    """Where they lie: the table's, or the partition's."""
    where: Sequence[ColumnElement[bool]] = ()
    """Matches them."""


def _living(connection: Connection, of: _Rows) -> float:
    rows = connection.execute(select(func.count()).select_from(of.table).where(*of.where)).scalar_one()
    return rows * _mean(connection, of) if rows else 0.0


def _mean(connection: Connection, of: _Rows) -> float:
    """Return what a row takes, by some that lie evenly among all: not evenly in time, most of which may be quiet."""
    sampled = _at_places if connection.dialect.name == "sqlite" else _on_pages
    rows, size = sampled(connection, of)
    return size / rows if rows else 0.0


def _on_pages(connection: Connection, of: _Rows) -> tuple[int, float]:
    """Count the rows on some of PostgreSQL's pages, the same ones when it looks again, and what they take."""
    heap, tree = sql.table(of.name, sql.column("id")), func.pg_partition_tree(of.name).table_valued("relid")
    pages = select(func.coalesce(func.sum(func.pg_relation_size(tree.c.relid)), 0) / _PAGE)
    share = 100.0 * _PAGES / max(int(connection.execute(pages).scalar_one()), _PAGES)
    while True:
        some = tablesample(heap, func.system(share), seed=literal(1))
        chosen = of.table.c.id.in_(select(some.c.id))
        found = select(func.count(), func.sum(_bytes(connection, of.table))).where(chosen, *of.where)
        rows, size = connection.execute(found).one()
        if rows or share >= 100:
            return rows, float(size or 0)
        share = min(100.0, share * 4)  # nothing lies there: rows were deleted, or no page was chosen


def _at_places(connection: Connection, of: _Rows) -> tuple[int, float]:
    """Count rows at some places in the order in which they were inserted, and what they take."""
    table, order = of.table, _order(of.table)
    some = select(_bytes(connection, table).label("size")).order_by(order).limit(_AT_A_PLACE)
    rows, total = 0, 0.0
    for place in _places(connection, table):
        near = some.where(order >= place).subquery()
        count, size = connection.execute(select(func.count(), func.sum(near.c.size))).one()
        rows, total = rows + count, total + float(size or 0)
    return rows, total


def _order(table: Table) -> ColumnElement[Any]:
    has_rowid = table.dialect_options["sqlite"]["with_rowid"]
    return literal_column(f"{table.name}.rowid") if has_rowid else table.c.id


def _places(connection: Connection, table: Table) -> Iterator[Any]:
    """Find places that lie evenly among the rows. Task runs have no row numbers: they were made when flow runs were."""
    if table is task_runs:
        by_flow_runs = select(flow_runs.c.id).order_by(_order(flow_runs)).limit(1)
        numbers = list(_places(connection, flow_runs))
        found = (connection.execute(by_flow_runs.where(_order(flow_runs) >= n)).scalar() for n in numbers)
        yield from found if numbers else [str(uuid.UUID(int=0))]
        return
    # Two questions: SQLite would answer both at once by reading all.
    ends = (select(end(_order(table))).select_from(table) for end in (func.min, func.max))
    first, last = (connection.execute(statement).scalar_one() for statement in ends)
    for number in range(_PLACES if first is not None else 0):
        yield first + (last - first) * number // _PLACES


def _bytes(connection: Connection, table: Table) -> ColumnElement[float]:
    """Return what a row takes with its entries in indexes."""
    is_sqlite = connection.dialect.name == "sqlite"
    row, entry, used = _OF_SQLITE if is_sqlite else _OF_POSTGRES
    stored = _stored_in_sqlite if is_sqlite else _stored_in_postgres
    total: ColumnElement[Any] = literal(row) + _sum(stored, table.columns)
    if not is_sqlite or isinstance(table.c.id.type, Id):  # there, a counted number is where the row lies
        total += literal(entry) + _sum(stored, table.primary_key.columns)
    for index in table.indexes:
        size, where = literal(entry) + _sum(stored, index.expressions), index.info.get("where")
        total += size if where is None else case((where, size), else_=0)
    return cast(total / literal(used, Float), Float)


def _sum(stored: _Stored, values: Iterable[Any]) -> ColumnElement[int]:
    return reduce(add, map(stored, values))


def _stored_in_postgres(value: ColumnElement[Any]) -> ColumnElement[int]:
    return func.coalesce(func.pg_column_size(value), 0)


def _stored_in_sqlite(value: ColumnElement[Any]) -> ColumnElement[int]:
    if isinstance(value.type, (Integer, Id)):
        return case((value.is_(None), 0), else_=16 if isinstance(value.type, Id) else 6)
    raw = value if isinstance(value.type, LargeBinary) else cast(value, LargeBinary)
    return func.coalesce(func.length(raw), 0)
