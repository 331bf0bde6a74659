"""Tables whose partitions were made over many days, as on a server that has been up for long."""

from __future__ import annotations

from datetime import datetime, timezone

from sqlalchemy import text
from sqlalchemy.engine import Connection

from headrace.server.store import partitions
from headrace.server.store.database import Database
from headrace.server.store.partitions import Partition
from headrace.server.store.streams import Stream

from .filled import DAY_US


def divide(database: Database, stream: Stream, days: int) -> int:
    """Let the partitions of an empty table begin so many days ago; return that midnight."""

    def work(connection: Connection) -> int:
        for one in partitions.partitions(connection, stream):
            connection.execute(text(f"DROP TABLE {one.name}"))
        now_us = partitions.clock_us(connection)
        partitions.lay_out(connection, stream, now_us - days * DAY_US, now_us)
        return (now_us - days * DAY_US) // DAY_US * DAY_US

    return database.write(work)


def parts(database: Database, stream: Stream) -> list[Partition]:
    """Return the partitions of a table."""
    with database.read() as connection:
        return partitions.partitions(connection, stream)


def rows_in(database: Database, stream: Stream) -> dict[str, int]:
    """Return how many rows each partition holds that has some."""
    table = stream.table.name
    with database.read() as connection:
        found = connection.execute(text(f"SELECT tableoid::regclass::text, count(*) FROM {table} GROUP BY 1"))
        return {name.removeprefix(f"{table}_"): rows for name, rows in found}


def put(database: Database, stream: Stream, ids: dict[int | str, int]) -> None:
    """Insert a row under each id, of the moment given."""
    table = stream.table
    usual = {
        "log_chunks": {"first_us": 0, "min_level": 20, "max_level": 20, "lines": 1, "data": b"x"},
        "events": {"received_us": 0, "event": "e", "resource_id": "r"},
    }
    rows = [{"id": id, stream.at.key: at_us, **usual[table.name]} for id, at_us in ids.items()]
    database.write(lambda connection: connection.execute(table.insert(), rows))


def day_of(us: int) -> str:
    """Return the name of the partition that begins on a day, without the table's."""
    return datetime.fromtimestamp(us / 1e6, timezone.utc).strftime("%Y%m%d")
