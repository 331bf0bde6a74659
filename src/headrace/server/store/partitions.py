"""What PostgreSQL keeps in partitions, so that what is too old is dropped whole and not deleted row by row.

A partition is a range of ids, which tell when they were made. So an id stays the key, whoever gave it: what fits nowhere,
because nobody made partitions for days or a clock was wrong, goes into the partition ``rest``; what has ids that tell no
time, into ``first``. There rows are deleted in slices. Whoever looks for a run's lines plans for all partitions and locks
them, so they are few: one that is made is a day long, and twice as long for each dozen that there are.

SQLite has no partitions: each function finds none there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from .streams import LOGS, STREAMS, Stream

DAY_US = 86_400_000_000

AHEAD_US = 3 * DAY_US
"""For how long partitions are made ahead: so long nobody need come by to make more."""

SAME_LENGTH = 12
"""Partitions after which others are made twice as long: 30 days are 18 of them, 90 days 25, a year 47, ten years 99."""

LOCK_TIMEOUT = "25ms"
"""How long a table is waited for: everybody who comes meanwhile waits behind."""

_HOUR_US = 3_600_000_000

# Microseconds and ten bits of a sequence: no two rows have the same, and 63 bits last until 2255. By the database's own
# clock, since whoever inserts, of whatever release, names no id.
_LOG_ID = "((extract(epoch FROM clock_timestamp()) * 1000000)::bigint << 10) | (nextval('log_chunks_id_seq') & 1023)"


class Partition(NamedTuple):
    """A partition of a stream; the times in microseconds since 1970, UTC."""

    name: str
    start_us: int | None
    """``None``: it takes all that is older (``first``), or what no other takes (``rest``)."""
    end_us: int | None
    """The first moment that is not its own any more; ``None`` for ``rest``."""

    @property
    def is_dated(self) -> bool:
        """Whether it is a time's, and goes when that is over."""
        return self.start_us is not None


class Wanted(NamedTuple):
    """A partition that is to be made."""

    partition: Partition
    needs_bar: bool
    """Whether ``rest`` holds rows, which PostgreSQL reads while everybody waits, unless it knows that they are others."""


class Contents(NamedTuple):
    """What a partition holds."""

    rows: int
    bytes: int


def create(connection: Connection) -> None:
    """Make the partitions of new tables, and let ids of log chunks tell the time."""
    if connection.dialect.name == "sqlite":
        return
    connection.execute(text(f"ALTER TABLE {LOGS.table.name} ALTER id SET DEFAULT {_LOG_ID}"))
    now_us = clock_us(connection)
    for stream in STREAMS:
        lay_out(connection, stream, now_us, now_us)


def lay_out(connection: Connection, stream: Stream, since_us: int, now_us: int) -> None:
    """Make the partitions of a table that has none, from the day of a moment on to those that are to come."""
    first, rest = (
        Partition(_name(stream, "first"), None, _midnight(since_us)),
        Partition(_name(stream, "rest"), None, None),
    )
    for one in (first, rest):
        make = f"CREATE TABLE {one.name} PARTITION OF {stream.table.name} {_bounds(stream, one)}"
        connection.execute(text(make))
    there = [first]
    while _end(there) < now_us + AHEAD_US:
        there.append(_following(stream, there, _end(there)))
        for statement in _attaching(stream, there[-1]):
            connection.execute(text(statement))


def clock_us(connection: Connection) -> int:
    """Return what time PostgreSQL has."""
    now = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    return int(connection.execute(now).scalar_one())


def partitions(connection: Connection, stream: Stream) -> list[Partition]:
    """Return the partitions of a table: ``first``, those of times in their order, ``rest``.

    None where the table belongs to somebody else, who alone may make and drop them: then it is one table to us.
    """
    if connection.dialect.name == "sqlite":
        return []
    rows = connection.execute(text(_PARTITIONS), {"name": stream.table.name})
    return sorted(
        (_read(stream, *row) for row in rows), key=lambda one: (one.end_us is None, one.end_us or 0)
    )


_PARTITIONS = (
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid "
    "JOIN pg_class AS t ON t.oid = i.inhparent WHERE t.oid = CAST(:name AS regclass) AND pg_has_role(t.relowner, 'USAGE')"
)


def wanted(connection: Connection, stream: Stream) -> Wanted | None:
    """Return the partition that is to be made next, ``None`` while there are enough for the days to come.

    A bar refuses rows of the partition's time until it is made; so that time begins an hour from now at the soonest.
    """
    there = partitions(connection, stream)
    if not there:
        return None
    now_us, is_used = clock_us(connection), _has_rows(connection, there[-1], "true")
    soonest_us = _midnight(now_us + _HOUR_US) + DAY_US if is_used else _midnight(now_us)
    start_us = max(soonest_us, _end(there))
    while start_us < now_us + AHEAD_US:
        found = _following(stream, there, start_us)
        if not (is_used and _has_rows(connection, there[-1], _within(stream, found))):
            return Wanted(found, is_used)
        start_us += DAY_US
    return None


def bar(connection: Connection, stream: Stream, partition: Partition) -> bool:
    """Let ``rest`` take nothing of a partition's time; return whether that could be said without making others wait."""
    check = f"ADD CONSTRAINT {_BAR} CHECK (NOT ({_within(stream, partition)})) NOT VALID"
    return _briefly(connection, [_unbarring(stream), f"ALTER TABLE {_name(stream, 'rest')} {check}"])


def prove(connection: Connection, stream: Stream) -> bool:
    """Let PostgreSQL see that ``rest`` holds nothing behind the bar; return whether it does.

    It reads all of ``rest``, which may take seconds, and nobody waits for that.
    """
    return _briefly(connection, [f"ALTER TABLE {_name(stream, 'rest')} VALIDATE CONSTRAINT {_BAR}"])


def is_barred(connection: Connection, stream: Stream) -> bool:
    """Say whether there is a bar: somebody put it up who did not come to make the partition."""
    if connection.dialect.name == "sqlite":
        return False
    found = text("SELECT 1 FROM pg_constraint WHERE conname = :name AND conrelid = CAST(:rest AS regclass)")
    return connection.execute(found, {"name": _BAR, "rest": _name(stream, "rest")}).first() is not None


def unbar(connection: Connection, stream: Stream) -> bool:
    """Take a bar away; return whether that could be done without making others wait."""
    return _briefly(connection, [_unbarring(stream)])


def attach(connection: Connection, stream: Stream, wanted: Wanted) -> bool:
    """Make a partition; return whether that could be done without making others wait.

    It is made beside the table and then attached: only who uses ``rest`` is waited for, and waits.
    """
    after = [_unbarring(stream)] if wanted.needs_bar else []
    return _briefly(connection, [*_attaching(stream, wanted.partition), *after])


def over(connection: Connection, stream: Stream, before_us: int) -> list[Partition]:
    """Return the partitions whose time ended before a moment and that hold nothing newer. Reads these whole.

    What is written into one afterwards is not looked for: who names an old id is a restore or a copy, and works alone.
    """
    there = [one for one in partitions(connection, stream) if one.is_dated]
    ended_us = min(before_us, clock_us(connection)) if there else 0
    return [
        one
        for one in there
        if one.end_us is not None and one.end_us <= ended_us and _newest(connection, stream, one) < before_us
    ]


def _newest(connection: Connection, stream: Stream, partition: Partition) -> int:
    newest = text(f"SELECT max({stream.at.name}) FROM {partition.name}")
    return connection.execute(newest).scalar() or 0


def bytes_in(connection: Connection, partition: Partition) -> int:
    """Return what a partition takes with its indexes."""
    return int(connection.execute(select(func.pg_total_relation_size(partition.name))).scalar_one())


def contents(connection: Connection, partition: Partition) -> Contents:
    """Return what a partition holds; it is read whole."""
    rows = connection.execute(text(f"SELECT count(*) FROM {partition.name}")).scalar_one()
    return Contents(rows, bytes_in(connection, partition))


def drop(connection: Connection, partition: Partition) -> bool:
    """Drop a partition with all it holds; return whether that could be done without making others wait."""
    return _briefly(connection, [f"DROP TABLE {partition.name}"])


def around(connection: Connection, stream: Stream, us: int) -> list[Partition]:
    """Return the partition of a time in which a moment lies, or none."""
    return [
        one
        for one in partitions(connection, stream)
        if one.start_us is not None and one.start_us < us < (one.end_us or 0)
    ]


def outside(stream: Stream, partitions: Iterable[Partition]) -> list[ColumnElement[bool]]:
    """Match what is in none of these partitions, which are of times."""
    id = stream.table.c.id
    return [
        or_(id < stream.first_id(one.start_us or 0), id >= stream.first_id(one.end_us or 0))
        for one in partitions
    ]


def inside(stream: Stream, partition: Partition, there: Iterable[Partition]) -> list[ColumnElement[bool]]:
    """Match what is in one of the partitions that are there, so that no other is looked at."""
    id = stream.table.c.id
    if partition.end_us is None:
        begun = [
            id >= stream.first_id(one.end_us) for one in there if one.end_us is not None and not one.is_dated
        ]
        return begun + outside(stream, (one for one in there if one.is_dated))
    begun = [] if partition.start_us is None else [id >= stream.first_id(partition.start_us)]
    return [*begun, id < stream.first_id(partition.end_us)]


_BAR = "ck_rest"


def _unbarring(stream: Stream) -> str:
    return f"ALTER TABLE {_name(stream, 'rest')} DROP CONSTRAINT IF EXISTS {_BAR}"


def _attaching(stream: Stream, partition: Partition) -> list[str]:
    table, name = stream.table.name, partition.name
    return [
        f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)",
        f"ALTER TABLE {table} ATTACH PARTITION {name} {_bounds(stream, partition)}",
    ]


def _following(stream: Stream, there: Sequence[Partition], start_us: int) -> Partition:
    """Return the partition that begins at a moment, as long as it is to be beside those there are."""
    length_us = DAY_US << (sum(one.is_dated for one in there) // SAME_LENGTH)
    day = datetime.fromtimestamp(start_us / 1e6, timezone.utc).strftime("%Y%m%d")
    return Partition(_name(stream, day), start_us, start_us + length_us)


def _end(there: Iterable[Partition]) -> int:
    return max(one.end_us or 0 for one in there)


def _name(stream: Stream, what: str) -> str:
    return f"{stream.table.name}_{what}"


def _midnight(us: int) -> int:
    return us // DAY_US * DAY_US


def _bounds(stream: Stream, partition: Partition) -> str:
    if partition.end_us is None:
        return "DEFAULT"
    start = "MINVALUE" if partition.start_us is None else f"'{stream.first_id(partition.start_us)}'"
    return f"FOR VALUES FROM ({start}) TO ('{stream.first_id(partition.end_us)}')"


def _read(stream: Stream, name: str, bounds: str) -> Partition:
    moments = [
        None if bound == "MINVALUE" else stream.moment(bound.strip("'"))
        for bound in re.findall(r"\((.*?)\)", bounds)
    ]
    return Partition(name, *(moments or (None, None)))


def _within(stream: Stream, partition: Partition) -> str:
    start, end = stream.first_id(partition.start_us or 0), stream.first_id(partition.end_us or 0)
    return f"id >= '{start}' AND id < '{end}'"


def _has_rows(connection: Connection, partition: Partition, where: str) -> bool:
    found = text(f"SELECT 1 FROM {partition.name} WHERE {where} LIMIT 1")
    return connection.execute(found).first() is not None


# A lock was not had in time; a row came into ``rest`` that belongs into the partition which is made.
_NOT_NOW = frozenset(("55P03", "23514"))


def _briefly(connection: Connection, statements: Iterable[str]) -> bool:
    """Carry out statements for which a table is to be had alone, if it is had at once; return whether it was."""
    savepoint = connection.begin_nested()
    try:
        connection.execute(select(func.set_config("lock_timeout", LOCK_TIMEOUT, True)))
        for statement in statements:
            connection.execute(text(statement))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _NOT_NOW:
            raise
        savepoint.rollback()
        return False
    savepoint.commit()
    return True
