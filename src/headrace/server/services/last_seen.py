"""When each leased journal was last alive: kept in memory, written in one statement every few seconds."""

from __future__ import annotations

import threading

from headrace.server.ingest import sign_of_life
from headrace.server.store.database import Database

from .service import Service


class LastSeen(Service):
    """Take signs of life at no cost, and flush them all at once."""

    every_s = 3.0

    def __init__(self, database: Database) -> None:
        super().__init__()
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
