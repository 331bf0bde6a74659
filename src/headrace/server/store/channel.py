"""Hints between servers on one PostgreSQL: a few words to all others at once, which may get lost.

``LISTEN`` needs a session of its own. Behind a pooler that gives it to others after each transaction there is no
channel; then servers hear of each other's news when they next look.
"""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from .database import Database

NAME = "headrace"
"""The channel's name within the database."""

LONGEST = 7_900
"""Bytes that one notification carries at most; PostgreSQL takes fewer than 8,000."""


def open_channel(database: Database) -> Channel | None:
    """Return a channel between the servers on a database; ``None`` where there is none: SQLite, some poolers.

    Raises:
        OperationalError: the database cannot be reached.
    """
    return Channel(database.url, database.kind) if database.can_listen else None


class Channel:
    """A connection that listens. One thread uses it; :meth:`wake` may be called from any."""

    def __init__(self, url: URL, kind: Any) -> None:
        self._lost: type[Exception] = kind.psycopg.OperationalError
        self._engine = kind.open_engine(url, writer=True, pool_size=1, cache_kib=0)
        with contextlib.ExitStack() as undo:
            undo.callback(self._engine.dispose)
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            undo.callback(self._connection.invalidate)
            self._connection.execute(text(f"LISTEN {NAME}"))
            self._driver: Any = self._connection.connection.driver_connection
            self._woken, self._bell = os.pipe()
            os.set_blocking(self._bell, False)
            self._selector = selectors.DefaultSelector()
            for fd in (self._woken, self._driver.fileno()):
                self._selector.register(fd, selectors.EVENT_READ)
            undo.pop_all()

    def wait(self, seconds: float) -> list[str]:
        """Wait until others tell something, :meth:`wake` is called or time is up; return what was told.

        Raises:
            ConnectionError: the connection is gone.
        """
        with self._explained():
            ready = {key.fd for key, _ in self._selector.select(seconds)}
            if self._woken in ready:
                os.read(self._woken, 65_536)
            if not ready:
                self._connection.execute(select(1))  # so that a connection that leads nowhere is noticed
            mine = self._driver.info.backend_pid
            return [told.payload for told in self._driver.notifies(timeout=0) if told.pid != mine]

    def send(self, words: Iterable[str]) -> None:
        """Tell words without spaces to all others that listen now.

        Raises:
            ConnectionError: the connection is gone.
        """
        with self._explained():
            for payload in _packed(words):
                self._connection.execute(select(func.pg_notify(NAME, payload)))

    def wake(self) -> None:
        """Let :meth:`wait` return."""
        with contextlib.suppress(BlockingIOError):  # it is full of calls already
            os.write(self._bell, b".")

    def close(self) -> None:
        """Give the connection back."""
        self._selector.close()
        os.close(self._woken)
        os.close(self._bell)
        self._connection.invalidate()
        self._connection.close()
        self._engine.dispose()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise ConnectionError(str(error.orig)) from error
        except self._lost as error:
            raise ConnectionError(str(error)) from error


def _packed(words: Iterable[str]) -> Iterator[str]:
    """Put words together in as few texts as may be sent."""
    payload = ""
    for word in words:
        if payload and len(payload) + 1 + len(word) > LONGEST:
            yield payload
            payload = ""
        payload = f"{payload} {word}" if payload else word
    if payload:
        yield payload
