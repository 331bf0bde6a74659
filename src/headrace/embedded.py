"""A script without a server: its companion keeps the journal in the home folder's database itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from .client.port import Command
from .errors import ServerUnavailable
from .model.clock import AnchoredClock
from .server.ingest import append
from .server.store import journals
from .server.store.database import Database
from .settings import Settings

T = TypeVar("T")

POLL_S = 0.5
"""How often the table of commands is looked at; a look takes about 0.2 ms."""


class EmbeddedJournals:
    """A :class:`~headrace.client.port.JournalPort` into the database that a server started later will show.

    Nobody holds a lease here: that a process still lives is seen on its own host.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = AnchoredClock()
        self._opening = threading.Lock()
        self._open: Database | None = None
        self._closed = threading.Event()

    def offset(self, journal: str) -> int:
        """Return how many bytes of the journal are held; 0 when it is not known."""
        return self._call(lambda database: _read_offset(database, journal))

    def append(self, journal: str, offset: int, data: bytes) -> int:
        """Take in whole lines that begin at byte ``offset``; return how many bytes are held now."""
        now_us = self._clock.now_us()
        return self._call(lambda db: append(db, journal, offset, data, now_us=now_us, leased=False).held)

    def commands(self, journal: str, *, after: int, wait: float) -> list[Command]:
        """Return commands newer than ``after``, looking for one for up to ``wait`` seconds."""
        deadline = time.monotonic() + wait
        while True:
            found = self._call(lambda database: _read_commands(database, journal, after))
            left = deadline - time.monotonic()
            if found or left <= 0 or self._closed.wait(min(POLL_S, left)):
                return found

    def close(self) -> None:
        """End what waits and close the database; closing twice is fine."""
        self._closed.set()
        with self._opening:
            database, self._open = self._open, None
        if database is not None:
            database.close()

    def _call(self, work: Callable[[Database], T]) -> T:
        try:
            return work(self._database())
        except (SQLAlchemyError, OSError) as error:
            raise ServerUnavailable(self._why(error)) from error

    def _why(self, error: Exception) -> str:
        """Say which database could not be used, that nothing is lost by that, and what to look at."""
        kept = "The journal is kept and shipped later"
        if self._settings.database_url:
            return (
                f"The database that HEADRACE_DATABASE_URL names could not be used: {error}. {kept}; see whether it "
                "runs, and lets this user in."
            )
        return (
            f"The database in {self._settings.home_path} could not be used: {error}. {kept}; look at the folder's "
            "disk space and permissions."
        )

    def _database(self) -> Database:
        with self._opening:
            if self._open is None:
                if self._closed.is_set():
                    raise ServerUnavailable("These journals were closed. Make new ones to go on.")
                self._open = Database.open(self._settings.database_url, self._settings.home_path, direct=True)
            return self._open


def _read_offset(database: Database, journal: str) -> int:
    with database.read() as connection:
        return journals.offset(connection, journal)


def _read_commands(database: Database, journal: str, after: int) -> list[Command]:
    with database.read() as connection:
        return journals.commands(connection, journal, after)
