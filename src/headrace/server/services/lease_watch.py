"""Presumes runs lost whose journal has shown no sign of life for a whole lease; it kills nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from sqlalchemy.engine import Connection

from headrace.model.ids import IdFactory
from headrace.server.ingest import presume_lost
from headrace.server.store import claims, journals
from headrace.server.store.database import Database

from .service import Service

_log = logging.getLogger("headrace.server")

UNCONFIRMED_S = 5.0
"""How long a worker may take to confirm what it was given."""


class LeaseWatch(Service):
    """Look for lapsed leases. A server that was away itself says nothing before it was up for one lease."""

    def __init__(
        self,
        database: Database,
        *,
        lease_s: float,
        now_us: Callable[[], int],
        flush: Callable[[], None] = lambda: None,
        held: Callable[[], bool] = lambda: True,
    ) -> None:
        """``now_us`` tells microseconds since 1970; ``flush`` writes signs of life that are only in memory.

        ``held`` says whether this server is the one that watches; two would only do the same work twice.
        """
        super().__init__()
        self.every_s = min(2.0, lease_s / 4)
        self._database = database
        self._lease_us = int(lease_s * 1e6)
        self._now_us = now_us
        self._flush = flush
        self._held = held
        self._up_since_us = now_us()
        self._new_id = IdFactory().new

    def tick(self) -> None:
        """Presume lost what has been silent for a lease by now, and take back what no worker has confirmed."""
        if not self._held():
            return
        now_us = self._now_us()
        self._take_back(now_us)
        before_us = now_us - self._lease_us
        if before_us < self._up_since_us:
            return  # nobody could have been heard while this server was down
        self._flush()
        with self._database.read() as connection:
            silent = [row["id"] for row in journals.lapsed(connection, before_us)]
        for journal in silent:
            lost = presume_lost(
                self._database, journal, before_us=before_us, now_us=now_us, new_id=self._new_id
            )
            if lost:
                _log.warning(
                    "Journal %s shows no sign of life: %d open runs are presumed lost.", journal, lost
                )

    def _take_back(self, now_us: int) -> None:
        with self._database.read() as connection:
            silent = claims.unconfirmed(connection, now_us - int(UNCONFIRMED_S * 1e6))
        for journal in silent:
            run = self._database.write(partial(self._take_one_back, journal))
            if run is not None:
                _log.warning(
                    "Flow run %s was given to a worker that did not answer; it is planned again.", run
                )

    def _take_one_back(self, journal: str, connection: Connection) -> str | None:
        now_us = self._now_us()
        return claims.take_back(connection, journal, now_us, new_id=lambda: self._new_id(now_us))
