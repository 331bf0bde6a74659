"""Wakes the polls of supervisors for commands that another server process took in."""

from __future__ import annotations

from collections.abc import Callable

from headrace.server.store import waiting
from headrace.server.store.database import Database

from .service import Service


class BellRinger(Service):
    """Look for commands every second, once for all polls; nothing is asked while nobody waits."""

    every_s = 1.0

    def __init__(
        self, database: Database, *, waited_for: Callable[[], list[str]], ring: Callable[[str], None]
    ) -> None:
        """``waited_for`` tells which journals are waited for; ``ring`` wakes who waits for one."""
        super().__init__()
        self._database = database
        self._waited_for = waited_for
        self._ring = ring

    def tick(self) -> None:
        """Ring for each journal that is waited for and has a command."""
        awaited = self._waited_for()
        if not awaited:
            return
        with self._database.read() as connection:
            asked = waiting.journals(connection)
        for journal in awaited:
            if journal in asked:
                self._ring(journal)
