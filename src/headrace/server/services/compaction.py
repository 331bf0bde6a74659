"""Puts tallies together that many writes have left, so that whoever sums them reads few."""

from __future__ import annotations

import contextlib

from headrace.server.store import tallies
from headrace.server.store.database import Database

from .loop_lease import LeaseLost, LoopLease
from .service import Service

SURPLUS = 500
"""Rows that need not be there and are left: to read them takes no time that anybody would notice."""


class Compaction(Service):
    """Look once a minute; nothing is written while there is little to put together."""

    every_s = 60.0

    def __init__(self, database: Database, lease: LoopLease) -> None:
        super().__init__()
        self._database = database
        self._lease = lease

    def tick(self) -> None:
        """Put together what can be, if this server holds the lease."""
        if not self._lease.held():
            return
        with self._database.read() as connection:
            if tallies.surplus(connection) <= SURPLUS:
                return
        with contextlib.suppress(LeaseLost):  # whoever holds it now does the same
            self._lease.write(tallies.compact)
