"""When each leased journal was last alive: kept in memory, written in one statement every few seconds."""

from __future__ import annotations

import threading

from headrace.server.ingest import sign_of_life
from headrace.server.store.database import Database

from .service import Service

LONGEST_S = 3.0
"""Seconds between two flushes at most."""


class LastSeen(Service):
    """Take signs of life at no cost, and flush them all at once."""

    def __init__(self, database: Database, *, lease_s: float = 30.0) -> None:
        """``lease_s`` is how long a journal may be silent.

        Another server may be the one that watches, and it knows only what is written. A poll waits for half a lease
        at most, so a quarter is what may pass until its sign of life is written.
        """
        super().__init__()
        self.every_s = min(LONGEST_S, lease_s / 4)
        self._database = database
        self._lock = threading.Lock()
        self._seen_us: dict[str, int] = {}

    def note(self, journal: str, now_us: int) -> None:
        """Take a sign of life of a journal's process; from then on its silence means something."""
        with self._lock:
            self._seen_us[journal] = max(now_us, self._seen_us.get(journal, 0))

    def tick(self) -> None:
        """Write what was noted since the last time; what cannot be written is kept for the next."""
        with self._lock:
            seen_us, self._seen_us = self._seen_us, {}
        try:
            sign_of_life(self._database, seen_us)
        except Exception:
            with self._lock:
                self._seen_us = {**seen_us, **self._seen_us}
            raise

    def finish(self) -> None:
        """Write what was noted before the server goes."""
        self.tick()
