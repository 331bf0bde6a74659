"""What takes the space in a database, and how fast it grows."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, Table, case, func, select
from sqlalchemy.engine import Connection

from .database import Database
from .tables import commands, events, flow_runs, journals, log_chunks, metadata
from .tallies import tallies

DAY_US = 86_400_000_000

WINDOW_DAYS = 7
"""Growth is what was added in so many days, by their number: weekends are quiet."""

_ADDED = {
    events: events.c.received_us,
    journals: journals.c.opened_us,
    log_chunks: log_chunks.c.last_us,
    commands: commands.c.asked_us,
}
"""When a row was added, where no column ``created_us`` says so."""


class TableSize(NamedTuple):
    """One table with its indexes."""

    name: str
    rows: int
    bytes: int | None
    """``None`` where the database cannot tell: an SQLite that was built without its table ``dbstat``."""
    rows_a_day: float
    """Rows that were added lately and are still there."""
    bytes_a_day: float | None


class Stats(NamedTuple):
    """A whole database."""

    tables: list[TableSize]
    """The largest first."""
    bytes: int
    """On disk; with what is free, and what belongs to no table."""
    free_bytes: int
    """What the next rows will use before more is taken from the disk; 0 where the database does not tell."""
    days: float
    """Over how many days growth was looked at: fewer than seven in a young database, one at least."""
    oldest_run_us: int | None
    """When the oldest flow run was made, in microseconds since 1970, UTC."""


def measure(database: Database, *, now_us: int) -> Stats:
    """Count every table. It reads each whole, or an index of it: a second or so for a million rows."""
    with database.read() as connection:
        sizes: dict[str, int] = database.kind.table_bytes(connection)
        whole, free = database.kind.whole_bytes(connection)
        oldest_us = connection.execute(select(func.min(flow_runs.c.created_us))).scalar()
        age = 0.0 if oldest_us is None else (now_us - oldest_us) / DAY_US
        days = min(max(1.0, age), WINDOW_DAYS)
        since_us = now_us - int(days * DAY_US)
        tables = [
            _measure(connection, table, sizes, since_us, days) for table in (*metadata.sorted_tables, tallies)
        ]
    tables.sort(key=lambda one: (-(one.bytes or 0), -one.rows, one.name))
    return Stats(tables, whole, free, days, oldest_us)


def _measure(
    connection: Connection, table: Table, sizes: dict[str, int], since_us: int, days: float
) -> TableSize:
    added: ColumnElement[int] | None = _ADDED.get(table, table.c.get("created_us"))
    lately = func.sum(case((added >= since_us, 1), else_=0)) if added is not None else None
    columns = [func.count()] + ([] if lately is None else [lately])
    rows, *new = connection.execute(select(*columns).select_from(table)).one()
    a_day = (new[0] or 0) / days if new else 0.0
    size = sizes.get(table.name)
    growth = None if size is None else a_day * size / rows if rows else 0.0
    return TableSize(str(table.name), rows, size, a_day, growth)
