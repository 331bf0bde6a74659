"""The databases that a server is measured on: a new one of each kind, and what it takes on disk."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from headrace.server.store.database import FILE_NAME
from headrace.testing.postgres import Cluster

from .measure import private_home
from .servers import Server, serving
from .side import Side

KINDS = ("SQLite", "PostgreSQL")


class Place(NamedTuple):
    """A database of one kind that nobody uses yet."""

    kind: str
    home: Path
    """The home folder of whoever opens it."""
    url: str | None
    """As the setting ``database_url`` takes it; ``None`` for the file in the home folder."""
    pid: int | None = None
    """The first process of PostgreSQL."""

    def processor_s(self) -> float:
        """Return the processor time that PostgreSQL has taken; 0 for SQLite, which works in the server's process."""
        if self.pid is None:
            return 0.0
        first = psutil.Process(self.pid)
        return sum(
            sum(one.cpu_times()[:4]) for one in (first, *first.children())
        )  # with that of those that ended

    def bytes(self, table: str) -> int:
        """Return what is on disk: of PostgreSQL's a table with its indexes, after VACUUM; of SQLite's the whole file."""
        if self.url is None:
            return _file_bytes(self.home / FILE_NAME)
        with self.asked() as ask:
            ask(f"VACUUM {table}")
            whole = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
            return int(ask(f"{whole} WHERE coalesce(pg_partition_root(oid), oid) = '{table}'::regclass"))

    def settle(self) -> None:
        """Do what a database does by itself within minutes: count its rows, and write its log into its tables."""
        if self.url is None:
            _file_bytes(self.home / FILE_NAME)
            return
        with self.asked() as ask:
            ask("VACUUM ANALYZE")
            ask("CHECKPOINT")

    @contextlib.contextmanager
    def asked(self) -> Iterator[Callable[[str], Any]]:
        """Give what carries out a statement of PostgreSQL and returns its first value, if it has one."""
        import psycopg  # here: an optional dependency

        assert self.url is not None
        with psycopg.connect(self.url, autocommit=True) as connection:

            def ask(statement: str) -> Any:
                cursor = connection.execute(statement.encode())
                return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]  # it has a row

            yield ask


def _file_bytes(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return path.stat().st_size


@contextlib.contextmanager
def new(kind: str) -> Iterator[Place]:
    """Give a new database; PostgreSQL's is in a cluster of its own that waits for the disk as in earnest."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(private_home())
        if kind == "SQLite":
            yield Place(kind, home, None)
        else:
            cluster = stack.enter_context(Cluster(durable=True))
            yield Place(kind, home, cluster.create("measured"), cluster.pid)


@contextlib.contextmanager
def served(side: Side, kind: str) -> Iterator[tuple[Place, Server]]:
    """Give a new database and one server process on it."""
    with new(kind) as place, serving(side, place.home, database_url=place.url) as server:
        yield place, server
