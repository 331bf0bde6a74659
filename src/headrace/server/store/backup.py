"""A database in one file that either kind of database can be made from again.

The file is a line that names the format, a line that describes the tables (its CRC-32, then JSON), and compressed
frames: length and CRC-32 in four bytes each, then MessagePack. The last frame says that nothing is missing. All of it
is read in one transaction, so it is one moment of the data, whoever writes meanwhile.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
from sqlalchemy import select
from sqlalchemy.engine import Connection

from headrace.errors import DatabaseError
from headrace.model.release import __version__

from . import portable, schema
from .database import Database
from .portable import NOTHING, Shape, Sum
from .tables import leases, metadata

MAGIC = b"headrace backup 1\n"
"""The first line of every backup; another number is another format."""

_LONGEST_FRAME = 1_000_000_000
"""Bytes: a length above it was not written by us."""

_LEVEL = 4  # of 9, in a third of the time: logs are compressed already


class Header(msgspec.Struct):
    """What a backup says of itself before its rows."""

    revision: str
    """Of the tables; see ``schema.HEAD``."""
    release: str
    made_us: int
    tables: list[Shape]
    counters: dict[str, int]


class Report(NamedTuple):
    """What was written or read."""

    revision: str
    sums: dict[str, Sum]
    """``{table: its rows}``."""


_header = msgspec.json.Decoder(Header)
_frame = msgspec.msgpack.Decoder(list[Any])


def back_up(database: Database, path: Path, *, now_us: int, force: bool = False) -> Report:
    """Write all that a database holds into a file, which appears whole or not at all.

    Raises:
        DatabaseError: the file is there already and ``force`` was not said, or the database has no tables, or
            those of a newer Headrace.
    """
    if path.exists() and not force:
        raise DatabaseError(f"{path} is there already. Name another file, or add --force to write over it.")
    part = path.with_name(path.name + ".part")
    try:
        with _private(part) as file, database.read() as connection:
            report = _write(connection, file, now_us)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return report


def _private(path: Path) -> IO[bytes]:
    # It holds what runs were given and what they logged.
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def _write(connection: Connection, file: IO[bytes], now_us: int) -> Report:
    revision = known_revision(connection)
    shapes = portable.shapes_in(connection)
    header = Header(revision, __version__, now_us, shapes, portable.counters(connection))
    described = msgspec.json.encode(header)
    file.write(MAGIC + b"%08x %b\n" % (zlib.crc32(described), described))
    sums: dict[str, Sum] = {}
    with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        for shape in shapes:
            total = NOTHING
            for rows in portable.pages(connection, shape):
                encoded = [portable.encode(row) for row in rows]
                total = total.plus(encoded)
                _write_frame(packed, ["rows", shape.name, encoded])
            sums[shape.name] = total
            _write_frame(packed, ["sum", shape.name, *total])
        _write_frame(packed, ["end"])
    return Report(revision, sums)


def known_revision(connection: Connection) -> str:
    """Return the revision of a database.

    Raises:
        DatabaseError: it has no tables of ours, or those of a newer Headrace.
    """
    from . import migrations  # here: Alembic costs 0.1 s

    revision = schema.version_of(connection)
    if revision is None:
        raise DatabaseError("The database holds no tables of Headrace: there is nothing in it.")
    if revision.endswith(schema.UNFINISHED):
        raise DatabaseError(schema.UNFINISHED_SENTENCE)
    if not migrations.knows(revision):
        raise DatabaseError(
            f"It is of revision {revision}, which this Headrace does not know: a newer one made it. Upgrade Headrace."
        )
    return revision


def _write_frame(file: gzip.GzipFile, frame: list[Any]) -> None:
    data = msgspec.msgpack.encode(frame)
    file.write(len(data).to_bytes(4, "big") + zlib.crc32(data).to_bytes(4, "big") + data)


def read_header(path: Path) -> Header:
    """Return what a backup says of itself.

    Raises:
        DatabaseError: the file is no backup, or one of a format that is not known here.
    """
    with path.open("rb") as file:
        return _read_header(file, path)


def _read_header(file: IO[bytes], path: Path) -> Header:
    first = file.readline(100)
    if first != MAGIC:
        newer = first.startswith(b"headrace backup ")
        why = (
            "is a backup of a newer Headrace. Upgrade Headrace"
            if newer
            else "is no backup of Headrace. Name a file that `headrace server database backup` wrote"
        )
        raise DatabaseError(f"{path} {why}.")
    crc, _, described = file.readline().rstrip(b"\n").partition(b" ")
    if crc != b"%08x" % zlib.crc32(described):
        raise _damaged(path, "its description is not the one that was written")
    return _header.decode(described)


def restore(database: Database, path: Path, *, now_us: int, force: bool = False) -> Report:
    """Make a database from a backup, in one transaction: it holds all of it afterwards, or what it held before.

    Tables of an older revision are made as they were, and then brought up to date.

    Raises:
        DatabaseError: the database holds something and ``force`` was not said, a server works on it, the file
            is no backup or damaged, or a newer Headrace wrote it.
    """
    from . import migrations  # here: Alembic costs 0.1 s

    header = read_header(path)
    if not migrations.knows(header.revision):
        raise DatabaseError(
            f"{path} is of revision {header.revision}, which this Headrace does not know: a newer one made it. "
            "Upgrade Headrace."
        )

    def work(connection: Connection) -> Report:
        refuse_served(connection, now_us)
        return _restore(connection, path, header, force)

    return database.remake(work)


def refuse_served(connection: Connection, now_us: int) -> None:
    """Raise :class:`DatabaseError` when a server works on the database: it holds the lease of the loops."""
    there = any(shape.name == "leases" for shape in portable.shapes_in(connection))
    held = select(leases.c.holder).where(leases.c.until_us > now_us).limit(1)
    holder = connection.execute(held).scalar() if there else None
    if holder is not None:
        raise DatabaseError(
            f"A server works on the database ({holder}). Stop it first (`headrace server stop`); one that was "
            "killed is forgotten after ten seconds."
        )


def _restore(connection: Connection, path: Path, header: Header, force: bool) -> Report:
    from . import migrations  # as above

    held = holds(connection)
    if held and not force:
        raise DatabaseError(
            f"The database holds {held} already. Restore into an empty one, or add --force to delete that first."
        )
    schema.drop(connection)
    if header.revision == schema.HEAD:
        schema.create(connection)
    else:
        migrations.upgrade(connection, header.revision)
    report = Report(header.revision, _read(connection, path))
    portable.set_counters(connection, header.counters)
    for shape in header.tables:
        if portable.sum_of(connection, shape) != report.sums[shape.name]:
            raise DatabaseError(
                f"What the table {shape.name} holds now is not what {path} holds: nothing was changed. "
                "Is the database's encoding UTF8?"
            )
    if header.revision != schema.HEAD:
        migrations.upgrade(connection)
    return report


def holds(connection: Connection) -> str:
    """Say in words what a database holds, ``""`` when that is nothing: no rows, leases of servers aside."""
    for shape in portable.shapes_in(connection):
        table = metadata.tables[shape.name]
        found = connection.execute(select(*table.primary_key.columns).limit(1)).first()
        if shape.name != "leases" and found is not None:
            return f"rows (in the table {shape.name} at least)"
    return ""


def _read(connection: Connection, path: Path) -> dict[str, Sum]:
    """Insert every row of a backup; return the sums, which are those that it tells."""
    sums: dict[str, Sum] = {}
    with path.open("rb") as file:
        shapes = {shape.name: shape for shape in _read_header(file, path).tables}
        totals = dict.fromkeys(shapes, NOTHING)
        for kind, *rest in _frames(file, path):
            if kind == "rows":
                name, encoded = rest
                totals[name] = totals[name].plus(encoded)
                portable.put(connection, shapes[name], [portable.decode.decode(row) for row in encoded])
            elif kind == "sum":
                sums[rest[0]] = Sum(rest[1], rest[2])
    if sums != totals:
        raise _damaged(path, "its rows are not those that it was written with")
    return sums


def _frames(file: IO[bytes], path: Path) -> Iterator[list[Any]]:
    with _explained(path), gzip.GzipFile("", "rb", fileobj=file) as packed:
        while True:
            length, crc = (int.from_bytes(packed.read(4), "big") for _ in range(2))
            if not 0 < length < _LONGEST_FRAME or zlib.crc32(data := packed.read(length)) != crc:
                raise _damaged(path, "it ends too early, or a part of it was altered")
            frame = _frame.decode(data)
            if frame[0] == "end":
                packed.read(1)  # so that the checksum behind the last byte is looked at
                return
            yield frame


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, msgspec.DecodeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> DatabaseError:
    return DatabaseError(f"{path} is damaged or cut off ({why}): nothing was changed. Use another backup.")
