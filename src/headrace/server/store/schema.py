"""Which shape the database has, and how it gets the shape this code needs."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sqlalchemy import Column, Engine, MetaData, String, Table, inspect, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from headrace.errors import SettingError

from . import partitions, tallies
from .tables import metadata

HEAD = "0006"
"""The newest migration in ``migrations/versions``; a test holds the two equal."""

UNFINISHED = "+copy"
"""Behind the revision of a database into which a copy is being made: nobody may work on it yet."""

UNFINISHED_SENTENCE = (
    "A copy into this database was begun and is not finished. Start it again, it goes on where it was: "
    "headrace server database copy FROM TO."
)

_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def version_of(connection: Connection) -> str | None:
    """Return the revision a database is at; ``None`` when it has no tables of ours."""
    try:
        return connection.execute(select(_version.c.version_num)).scalar()
    except DBAPIError:  # no such table: cheaper to ask than to look, since nearly every database has it
        connection.rollback()
        return None


def ensure(engine: Engine, dialect: ModuleType, lock: Path | None) -> None:
    """Bring the database to :data:`HEAD`; one process at a time: by a ``lock`` file, or the database's own lock.

    An empty database is made from the tables at once; one of an older revision is migrated by Alembic,
    which is imported only then.

    Raises:
        SettingError: the database was made by a newer Headrace, or a copy into it is not finished.
    """
    with _alone(lock), engine.connect() as connection:
        dialect.prepare_file(connection)
        found = version_of(connection)
        connection.rollback()
        if found == HEAD:
            return
        with connection.begin():
            dialect.hold_schema(connection)
            _bring(connection)


def _bring(connection: Connection) -> None:
    tables = inspect(connection).get_table_names()
    found = connection.execute(select(_version.c.version_num)).scalar() if _version.name in tables else None
    if found is None and "flow_runs" not in tables:
        create(connection)
    elif found != HEAD:  # another process may have been here while we waited
        _upgrade(connection, found)


def create(connection: Connection) -> None:
    """Make today's tables in a database that has none."""
    metadata.create_all(connection, checkfirst=False)
    tallies.create(connection)
    partitions.create(connection)
    _version.create(connection, checkfirst=True)
    connection.execute(_version.insert().values(version_num=HEAD))


def drop(connection: Connection) -> None:
    """Remove our tables with all that they hold, those of older revisions too."""
    metadata.drop_all(connection)
    tallies.drop(connection)
    _version.drop(connection, checkfirst=True)


def set_version(connection: Connection, revision: str) -> None:
    """Say which revision a database is at."""
    connection.execute(update(_version).values(version_num=revision))


def _upgrade(connection: Connection, found: str | None) -> None:
    from . import migrations  # here: Alembic costs 0.1 s and is rarely needed

    if found is not None and found.endswith(UNFINISHED):
        raise SettingError(UNFINISHED_SENTENCE)
    if not migrations.knows(found):
        raise SettingError(
            f"The database is at revision {found}, which this Headrace does not know: a newer one made it. "
            "Upgrade Headrace, or point HEADRACE_DATABASE_URL or HEADRACE_HOME elsewhere."
        )
    migrations.upgrade(connection)


@contextlib.contextmanager
def _alone(lock: Path | None) -> Iterator[None]:
    """Hold a file lock, so that processes that meet an empty home at once do not collide."""
    if lock is None:
        yield
        return
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
