"""Which shape the database has, and how it gets the shape this code needs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Column, Engine, MetaData, String, Table, inspect, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from headrace.errors import SettingError

from . import partitions, tallies
from .standing import UNFINISHED as UNFINISHED
from .standing import Stamp, Standing, compare
from .tables import metadata

if TYPE_CHECKING:
    from .migrations import Migration

HEAD = "0008"
"""The newest migration in ``migrations/versions``; tests hold this and the next two equal to what is there."""

NEEDED = "0008"
"""The newest migration without which this code cannot work: all but the post migrations at the end."""

SERVES_SINCE = "0007"
"""The revision of the oldest code that may work on tables of :data:`HEAD`."""

UNFINISHED_SENTENCE = (
    "A copy into this database was begun and is not finished. Start it again, it goes on where it was: "
    "headrace server database copy FROM TO."
)

_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), primary_key=True),
    Column("serves_since", String(32)),  # ours; Alembic passes over it
)

_NOT_THERE = frozenset(("42P01", "42703"))
"""PostgreSQL's codes for a table and for a column that is not there."""


def stamp_of(connection: Connection) -> Stamp | None:
    """Return what a database says of its tables; ``None`` when it has none of ours. It begins a transaction."""
    for columns in ((_version.c.version_num, _version.c.serves_since), (_version.c.version_num,)):
        try:
            row = connection.execute(select(*columns)).first()
        except DBAPIError as error:
            # Not there: cheaper to ask than to look, since nearly every database has both. SQLite has no codes.
            if getattr(error.orig, "sqlstate", "42P01") not in _NOT_THERE:
                raise
            connection.rollback()
        else:
            return None if row is None else Stamp(*row)
    return None


def version_of(connection: Connection) -> str | None:
    """Return the revision a database is at; ``None`` when it has no tables of ours."""
    stamp = stamp_of(connection)
    return None if stamp is None else stamp.revision


def standing_of(connection: Connection) -> Standing:
    """Say how a database stands to this code."""
    return _compare(stamp_of(connection))


def _compare(stamp: Stamp | None) -> Standing:
    return compare(stamp, needed=NEEDED, head=HEAD)


def ensure(engine: Engine, dialect: ModuleType, lock: Path | None, *, finish: bool) -> None:
    """Let this code work on the database; one process at a time: by a ``lock`` file, or the database's own lock.

    An empty database is made from the tables at once; one of an older revision is migrated by Alembic, which is
    imported only then. ``finish`` carries out post migrations too, after which older code cannot go on.

    Raises:
        SettingError: a newer Headrace has changed the tables so that this one cannot work on them, a copy into it is
            not finished, or a post migration has to come first and ``finish`` was not said.
    """
    with _alone(lock), engine.connect() as connection:
        dialect.prepare_file(connection)
        found = standing_of(connection)
        connection.rollback()
        if _is_enough(found, finish):
            return
        until = time.monotonic() + dialect.LOCK_PATIENCE_S
        while not _brought(connection, dialect, finish, give_up=time.monotonic() > until):
            time.sleep(random.uniform(0.1, 0.5))  # let those go on who wait behind us


def _brought(connection: Connection, dialect: ModuleType, finish: bool, *, give_up: bool) -> bool:
    """Make or migrate the tables; return whether that was done: ``False`` when it has to be begun anew."""
    try:
        with connection.begin():
            dialect.hold_schema(connection)
            _bring(connection, finish)
    except DBAPIError as error:
        if give_up or error.orig is None or not dialect.is_in_the_way(error.orig):
            raise
        return False
    return True


def _is_enough(found: Standing, finish: bool) -> bool:
    return found.fits and not (finish and found is Standing.WAITING)


def _bring(connection: Connection, finish: bool) -> None:
    stamp = _stamp_now(connection)
    if stamp is None and not inspect(connection).has_table("flow_runs"):
        create(connection)
    elif not _is_enough(_compare(stamp), finish):  # another process may have been here while we waited
        _upgrade(connection, stamp, finish)


def _stamp_now(connection: Connection) -> Stamp | None:
    """Return the same as :func:`stamp_of` within a transaction that must not be undone."""
    found = inspect(connection)
    if not found.has_table(_version.name):
        return None
    there = {column["name"] for column in found.get_columns(_version.name)}
    row = connection.execute(select(*(each for each in _version.c if each.name in there))).first()
    return None if row is None else Stamp(*row)


def create(connection: Connection) -> None:
    """Make today's tables in a database that has none."""
    metadata.create_all(connection, checkfirst=False)
    tallies.create(connection)
    partitions.create(connection)
    _version.create(connection, checkfirst=True)
    connection.execute(_version.insert().values(version_num=HEAD, serves_since=SERVES_SINCE))


def drop(connection: Connection) -> None:
    """Remove our tables with all that they hold, those of older revisions too."""
    metadata.drop_all(connection)
    tallies.drop(connection)
    _version.drop(connection, checkfirst=True)


def set_version(connection: Connection, revision: str) -> None:
    """Say which revision a database is at."""
    connection.execute(update(_version).values(version_num=revision))


class Plan(NamedTuple):
    """What there is to do with a database."""

    now: list[Migration]
    """The first one first."""
    later: list[Migration]
    """What waits until no older code works on the database: a post migration, and all behind it."""


def plan(connection: Connection, *, finish: bool) -> Plan:
    """Say what :func:`ensure` would do with a database that has tables.

    Raises:
        SettingError: the same as there.
    """
    stamp = stamp_of(connection)
    return Plan([], []) if _compare(stamp) is Standing.NEWER else _plan(stamp, finish)


def _plan(stamp: Stamp | None, finish: bool) -> Plan:
    from . import migrations  # here: Alembic costs 0.1 s and is rarely needed

    found, revision = _compare(stamp), None if stamp is None else stamp.revision
    if found is Standing.COPYING:
        raise SettingError(UNFINISHED_SENTENCE)
    if stamp is not None and (found is Standing.OUTGROWN or not migrations.knows(revision)):
        raise SettingError(_outgrown(stamp))
    missing = migrations.after(revision)
    now = missing if finish else migrations.before_the_first_post(missing)
    if not found.fits and (not now or now[-1].revision < NEEDED):
        raise SettingError(
            f"The database is at revision {revision}, and this Headrace needs {NEEDED}. On the way is a change that "
            "older servers cannot go on beside. Stop every server of an older version, then: "
            "headrace server database upgrade --finish"
        )
    return Plan(now, missing[len(now) :])


def _upgrade(connection: Connection, stamp: Stamp | None, finish: bool) -> None:
    from . import migrations  # as above

    migrations.upgrade(connection, _plan(stamp, finish).now[-1].revision)


def _outgrown(stamp: Stamp) -> str:
    serves = f" and takes Headrace of revision {stamp.serves_since} or newer" if stamp.serves_since else ""
    return (
        f"The database is at revision {stamp.revision}{serves}; this Headrace is of revision {HEAD}: a newer one made "
        "or changed it. Upgrade Headrace, or point HEADRACE_DATABASE_URL or HEADRACE_HOME elsewhere."
    )


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
