"""Where a supervisor ships to: whatever server there is now, put together with what that needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from .client.port import Command, JournalPort
from .client.where import Location, locate
from .errors import ServerUnavailable
from .settings import Settings, load

_LOOK_FOR_SERVER_SECONDS = 2.0
_EMBEDDED_WAIT_SECONDS = 2.0
"""How long an embedded poll waits at most, so that a server started meanwhile is found soon."""


T = TypeVar("T")


class RoamingPort:
    """Ships to the server that there is now: a configured one, a local one, or the home folder's database.

    A script may outlive a local server, or a server be started under it; both work on the same database.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._location: Location | None = None
        self._port: JournalPort | None = None
        self._looked = 0.0

    def offset(self, journal: str) -> int:
        """Return how many bytes the server holds."""
        return self._try(lambda port: port.offset(journal))

    def append(self, journal: str, offset: int, data: bytes) -> int:
        """Hand over whole lines."""
        return self._try(lambda port: port.append(journal, offset, data))

    def commands(self, journal: str, *, after: int, wait: float) -> list[Command]:
        """Return new commands."""
        self._current()
        if self._location is not None and self._location.kind == "embedded":
            wait = min(wait, _EMBEDDED_WAIT_SECONDS)
        return self._try(lambda port: port.commands(journal, after=after, wait=wait))

    def close(self) -> None:
        """Give connections back."""
        if self._port is not None:
            self._port.close()

    def _try(self, call: Callable[[JournalPort], T]) -> T:
        try:
            return call(self._current())
        except ServerUnavailable:
            self._looked = 0.0  # a local server that has gone: look again before the next try
            raise

    def _current(self) -> JournalPort:
        now = time.monotonic()
        if self._port is None or now - self._looked > _LOOK_FOR_SERVER_SECONDS:
            self._looked = now
            location = locate(self._settings)
            if self._port is None or location != self._location:
                self._location, self._port = location, open_port(self._settings, location)
        return self._port


def open_port(settings: Settings, location: Location) -> JournalPort:
    """Return the port to a server; each kind loads only what it needs."""
    if location.kind == "embedded":
        from .embedded import EmbeddedJournals  # loads the database

        return EmbeddedJournals(settings)
    from .client.journals import HttpJournals  # loads httpx

    return HttpJournals(settings, location.url)


def preload() -> None:
    """Load what ships to a server over HTTP, for a process whose forks will."""
    from .client.journals import HttpJournals

    # The making of a client loads its transport, which no import does: 40 ms of processor time in each fork.
    HttpJournals(load(), "http://127.0.0.1/api").close()
