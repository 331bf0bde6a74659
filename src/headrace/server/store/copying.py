"""Carry one database over into another, of either kind; begun again, it goes on where it was.

Each page of rows is written in one transaction with how far the copy has come, so a copy that was killed has
neither lost nor doubled a row. Until it is finished the target's revision is none that a server works with. At
its end both are read whole and compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Column, LargeBinary, MetaData, Table, Text, insert, inspect, select, update
from sqlalchemy.engine import URL, Connection

from headrace.errors import DatabaseError

from . import portable, schema
from .backup import holds, known_revision, refuse_served
from .database import Database
from .portable import Shape, Sum

_progress = Table(
    "headrace_copy",  # not one of ours: it is there only while a copy is made
    MetaData(),
    Column("source", Text, nullable=False),
    Column("table_name", Text, nullable=False),
    # The key of the last row that was carried over, packed.
    Column("position", LargeBinary),
)


class Step(NamedTuple):
    """How far a copy has come, for people."""

    table: str
    rows: int
    """Carried over by this process so far."""
    resumed: bool
    """Whether another process began with this table."""


def copy(
    source: Database,
    target: Database,
    *,
    now_us: int,
    anew: bool = False,
    told: Callable[[Step], None] = lambda _step: None,
) -> dict[str, Sum]:
    """Carry everything in ``source`` over into ``target``; return ``{table: sum}``, the same for both.

    A copy that was begun by another process is gone on with. ``anew`` throws away what it has carried over,
    never anything else. ``told`` is called after every page.

    Raises:
        DatabaseError: the source is not of today's revision; a server works on one of both; the target holds other
            data, or a copy of another source; the source was changed while it was copied.
    """
    with source.read() as connection:
        _check_source(connection, now_us)
        name = name_of(source.url)
        target.remake(lambda there: _begin(there, name, anew, now_us))
        for shape in portable.shapes():
            _carry(connection, target, shape, told)
        sums = {shape.name: portable.sum_of(connection, shape) for shape in portable.shapes()}
        counters = portable.counters(connection)
    target.remake(lambda there: _finish(there, sums, counters))
    return sums


def name_of(url: URL) -> str:
    """Return what tells a source from others, without its password."""
    return url.set(query={}).render_as_string(hide_password=True)


def _check_source(connection: Connection, now_us: int) -> None:
    revision = known_revision(connection)
    if revision != schema.HEAD:
        raise DatabaseError(
            f"The database to copy from is of revision {revision}, today's is {schema.HEAD}. Upgrade it first: "
            "HEADRACE_DATABASE_URL=... headrace server database upgrade --finish."
        )
    refuse_served(connection, now_us)


def _begin(connection: Connection, source: str, anew: bool, now_us: int) -> None:
    """Make the target ready: an empty one, or one into which the same source was being copied."""
    begun = inspect(connection).has_table(_progress.name)
    if begun:
        other = connection.execute(select(_progress.c.source).where(_progress.c.source != source)).scalar()
        if other is not None and not anew:
            raise DatabaseError(
                f"A copy of another database was begun here ({other}). Go on with that one, or add --anew to "
                "throw away what it has carried over."
            )
        if not anew:
            return
    else:
        refuse_served(connection, now_us)
        held = holds(connection)
        if held:
            raise DatabaseError(f"The database to copy to holds {held}. Name an empty one.")
    _make(connection, source)


def _make(connection: Connection, source: str) -> None:
    _progress.drop(connection, checkfirst=True)
    schema.drop(connection)
    schema.create(connection)
    schema.set_version(connection, schema.HEAD + schema.UNFINISHED)
    _progress.create(connection)
    rows = [{"source": source, "table_name": shape.name, "position": None} for shape in portable.shapes()]
    connection.execute(insert(_progress), rows)


def _carry(connection: Connection, target: Database, shape: Shape, told: Callable[[Step], None]) -> None:
    with target.read() as there:
        position = there.execute(select(_progress.c.position).where(_of(shape))).scalar_one()
    after = None if position is None else portable.decode.decode(position)
    rows = 0
    for page in portable.pages(connection, shape, after):
        target.write(_page(shape, page))
        rows += len(page)
        told(Step(shape.name, rows, position is not None))


def _page(shape: Shape, rows: list[portable.Row]) -> Callable[[Connection], None]:
    at = portable.encode(portable.key_of(shape, rows[-1]))

    def work(connection: Connection) -> None:
        portable.put(connection, shape, rows)
        connection.execute(update(_progress).where(_of(shape)).values(position=at))

    return work


def _of(shape: Shape) -> Any:
    return _progress.c.table_name == shape.name


def _finish(connection: Connection, sums: dict[str, Sum], counters: dict[str, int]) -> None:
    """Compare, and let servers in; when something differs the target stays closed."""
    different = [
        f"{shape.name} ({found.rows} rows, {sums[shape.name].rows} in the source)"
        for shape in portable.shapes()
        if (found := portable.sum_of(connection, shape)) != sums[shape.name]
    ]
    if different:
        raise DatabaseError(
            f"These tables are not the same: {', '.join(different)}. The source was changed while it was copied: "
            "stop what writes to it, then copy once more with --anew."
        )
    portable.set_counters(connection, counters)
    schema.set_version(connection, schema.HEAD)
    _progress.drop(connection)
