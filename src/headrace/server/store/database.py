"""The database: many readers, one writer, whichever of the two kinds it is."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from headrace.errors import ServerUnavailable, SettingError

from . import schema
from .locks import LostRace
from .standing import Standing
from .writer import DirectWriter, GroupWriter, MayPass, PooledWriter

T = TypeVar("T")

_log = logging.getLogger("headrace.server")

FILE_NAME = "headrace.db"
"""The SQLite file in a home folder."""

CONNECTIONS = 24
"""What the setting ``database_connections`` says by itself."""


class Database:
    """A server's database. All methods block and may be called from any thread.

    ``kind`` is the module of what differs between databases (``store.sqlite`` or ``store.postgres``).
    """

    def __init__(self, url: URL, *, direct: bool = False, connections: int = CONNECTIONS) -> None:
        self.url = url
        self.kind = _kind_of(url)
        # SQLite's. The kernel keeps the file's busy part, once for all connections: larger caches of theirs made a
        # server of a million task runs hardly faster and 90 MB larger. A companion is one of many and small.
        cache_kib, reader_kib = (4_096, 1_024) if direct else (16_384, 2_048)
        sizes = self.kind.pool_sizes(connections)  # says what is wrong with it, used or not
        writers, readers = (1, 2) if direct else sizes
        self._engine = self.kind.open_engine(url, writer=True, pool_size=writers, cache_kib=cache_kib)
        self._readers = self.kind.open_engine(url, writer=False, pool_size=readers, cache_kib=reader_kib)
        self.faults: Counter[str] = Counter()
        """How often writes met a passing fault and were tried again since the start, by the database's code of it."""
        self.ended: Counter[tuple[str, str]] = Counter()
        """How often a passing fault ended a ``read`` or a ``write``, by the database's code of it."""
        self._writer = _writer_of(self._engine, writers, self._may_pass, direct=direct)

    @classmethod
    def open(
        cls, url: str | None, home: Path, *, direct: bool = False, connections: int = CONNECTIONS
    ) -> Database:
        """Open the database at ``url``, or the SQLite file in ``home``, with tables that this code can work on.

        ``direct`` writes in the calling thread and keeps caches small: for companions and commands, with three
        connections. Others open as many as ``connections`` to PostgreSQL.

        Raises:
            SettingError: the URL cannot be read or is of no kind known here, its driver is not installed, a newer
                Headrace has changed the tables so that this one cannot work on them, or a post migration comes first.
            ServerUnavailable: PostgreSQL cannot be reached, or does not let us in.
        """
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = cls(read_url(url, home), direct=direct, connections=connections)
        try:
            database._prepare(tells=not direct)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, *, tells: bool) -> None:
        """Migrate as far as may be done without being asked; ``tells``: say in the log what is left."""
        found = self.standing()
        if not found.fits or (found is Standing.WAITING and not self.has_others):
            self.migrate()
            found = self.standing() if tells else found
        if tells and found is Standing.WAITING:
            _log.warning(
                "The database waits for its last migrations. When no server of an older version works on it any more: "
                "headrace server database upgrade --finish"
            )

    def standing(self) -> Standing:
        """Say how the tables stand to this code."""
        path = _file_of(self.url)
        if path is not None and not path.exists():
            return Standing.ABSENT
        with self._explained(), self.read() as connection:
            return schema.standing_of(connection)

    def is_current(self) -> bool:
        """Say whether the tables are those of this code, all migrations done."""
        return self.standing() is Standing.CURRENT

    def why_unwritable(self) -> str | None:
        """Say in a sentence for everybody why nothing can be written now; ``None``: it can be. Nothing is written."""
        why: str | None = self.kind.why_unwritable(self._engine)
        return why

    def migrate(self, *, finish: bool | None = None) -> None:
        """Let this code work on the tables; nothing happens when it can.

        ``finish`` carries out post migrations too, after which no older code can work here; ``None`` does so on SQLite,
        which has one server.
        """
        path = _file_of(self.url)
        lock = None if path is None else path.with_name(path.name + ".lock")
        with self._explained():
            schema.ensure(self._engine, self.kind, lock, finish=self._finishes(finish))

    def plan(self, *, finish: bool | None = None) -> schema.Plan:
        """Say what :meth:`migrate` would do with tables that are there.

        Raises:
            SettingError: this code cannot work on them, and migrating would not change that.
        """
        if self.standing() is Standing.ABSENT:
            return schema.Plan([], [])
        with self._explained(), self.read() as connection:
            return schema.plan(connection, finish=self._finishes(finish))

    def _finishes(self, told: bool | None) -> bool:
        return not self.has_others if told is None else told

    def remake(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work``, which may make and drop tables, in a transaction that nobody else's does meanwhile."""

        def alone(connection: Connection) -> T:
            self.kind.hold_schema(connection)
            return work(connection)

        with self._explained():
            with self._engine.connect() as connection:
                self.kind.prepare_file(connection)
            return self.write(alone)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in plain words why a database cannot be opened."""
        try:
            yield
        except DBAPIError as error:
            why = error.orig and self.kind.why_unusable(error.orig)
            if not why:
                raise
            shown = self.url.set(drivername="postgresql").render_as_string(hide_password=True)
            raise ServerUnavailable(f"The database {shown} cannot be used: {why}") from error

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one moment of the data and cannot write."""
        with self._counted("read"), self._readers.connect() as connection:
            yield connection

    def write(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work`` in a transaction and return what it returns, once it is committed.

        What it raises undoes what it did and is raised here. It may be called more than once (a passing
        fault, a neighbour in the same transaction), so it must do nothing but use its connection.
        """
        with self._counted("write"):
            return self._writer.write(work)

    @contextlib.contextmanager
    def _counted(self, work: str) -> Iterator[None]:
        """Count what a passing fault ends: whoever asked is told to come again."""
        try:
            yield
        except (DBAPIError, LostRace, PoolTimeout) as error:
            if isinstance(error, PoolTimeout) or self.is_passing(error):
                self.ended[work, _code_of(error)] += 1
            raise

    def is_passing(self, error: BaseException) -> bool:
        """Say whether an error passes by itself (a lock, a lost connection): ask the caller to come again."""
        if isinstance(error, LostRace):
            return True
        return isinstance(error, DBAPIError) and error.orig is not None and self.kind.is_busy(error.orig)

    def is_refused(self, error: BaseException) -> bool:
        """Say whether a write found no room, or a file that cannot be written: somebody has to see to it."""
        return isinstance(error, DBAPIError) and error.orig is not None and self.kind.is_refused(error.orig)

    def _may_pass(self, error: BaseException, tries: int) -> bool:
        """Say whether a write that failed with ``error`` after so many tries is worth another; counts the fault."""
        race = isinstance(error, LostRace) or (
            isinstance(error, DBAPIError) and error.orig is not None and self.kind.is_race(error.orig)
        )
        if not self.is_passing(error) and not (race and tries == 1):
            return False
        original = getattr(error, "orig", None)
        self.faults[getattr(original, "sqlstate", None) or ("race" if race else "connection")] += 1
        if original is not None and self.kind.is_stale(original):
            self._engine.dispose()  # what is opened from now on leads to whoever writes now
        return True

    def is_too_much(self, error: BaseException) -> bool:
        """Say whether a statement had more values than the database takes: ask the caller for fewer."""
        return isinstance(error, DBAPIError) and error.orig is not None and self.kind.is_too_much(error.orig)

    @property
    def has_others(self) -> bool:
        """Whether several servers may keep their data here."""
        return self.url.get_backend_name() != "sqlite"

    @property
    def can_listen(self) -> bool:
        """Whether a connection can wait for what other servers tell: not on SQLite, nor behind a pooler of transactions."""
        return self.has_others and bool(self.kind.keeps_sessions(self.url))

    def connections_used(self) -> dict[str, int]:
        """Return how many connections of each pool are in use now, ``{"write": ..., "read": ...}``."""
        pools = {"write": self._engine.pool, "read": self._readers.pool}
        return {name: pool.checkedout() for name, pool in pools.items() if isinstance(pool, QueuePool)}

    def close(self) -> None:
        """Finish what is being written and give all connections back; closing twice is fine."""
        self._writer.close()
        self._readers.dispose()


def _code_of(error: BaseException) -> str:
    """Return the database's code of a passing fault, or a word where it has none."""
    if isinstance(error, (LostRace, PoolTimeout)):
        return "race" if isinstance(error, LostRace) else "pool"
    return getattr(getattr(error, "orig", None), "sqlstate", None) or "connection"


def _writer_of(
    engine: Engine, writers: int, may_pass: MayPass, *, direct: bool
) -> DirectWriter | PooledWriter | GroupWriter:
    """Return what writes: of writes that share a transaction each holds the locks of all, in whatever order they came.

    So they share one only where there is one writer at a time. Elsewhere the database puts their commits together.
    """
    if direct:
        return DirectWriter(engine, may_pass)
    return PooledWriter(engine, may_pass) if writers > 1 else GroupWriter(engine, may_pass)


def read_url(url: str | None, home: Path) -> URL:
    """Return the URL of a database; the SQLite file in ``home`` when ``url`` is empty.

    The driver's name is ours to choose: ``sqlite+aiosqlite://`` and ``postgresql+asyncpg://``, which older
    tools need, mean the same databases.

    Raises:
        SettingError: it cannot be read, or is of no kind known here.
    """
    if not url:
        return URL.create("sqlite", database=str(home / FILE_NAME))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingError(
            "database_url cannot be read as a URL. Write it as sqlite:////path/to/file.db or "
            "postgresql://user:password@host/name."
        ) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise SettingError(
            "database_url names a database in memory, which no second process could read. Name a file."
        )
    if backend == "sqlite":
        return parsed.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        if parsed.query.get("pooler", "session") not in ("session", "transaction"):
            raise SettingError(
                "database_url names a mode of a pooler that is not known here. Write ?pooler=transaction for PgBouncer in "
                "transaction mode; in session mode nothing needs to be said."
            )
        return parsed.set(drivername="postgresql+psycopg")
    raise SettingError(
        f"database_url names a {backend} database. Headrace keeps its data in SQLite or PostgreSQL."
    )


def _kind_of(url: URL) -> ModuleType:
    # Imported only when used: a dialect of SQLAlchemy costs 30 ms.
    return import_module(
        "headrace.server.store." + ("sqlite" if url.get_backend_name() == "sqlite" else "postgres")
    )


def _file_of(url: URL) -> Path | None:
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None
