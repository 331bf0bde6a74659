"""Presumes runs lost whose journal has shown no sign of life for a whole lease; it kills nothing."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

from sqlalchemy.engine import Connection

from headrace.model.ids import IdFactory
from headrace.server.ingest import presume_lost
from headrace.server.store import claims, journals
from headrace.server.store.database import Database

from .loop_lease import Lease, LeaseLost
from .service import Service

_log = logging.getLogger("headrace.server")

_STEP_US = 1_000_000
"""A clock that gains or loses more between two looks, beside one that counts steadily, was set; or the machine slept."""


def _steady_us() -> int:
    return time.monotonic_ns() // 1000


class LeaseWatch(Service):
    """Look for lapsed leases. A server that was away itself says nothing before it was up for one lease.

    One whose clock was set has not been there either, as far as it can tell how long others were silent.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        *,
        lease_s: float,
        now_us: Callable[[], int],
        flush: Callable[[], None] = lambda: None,
        steady_us: Callable[[], int] = _steady_us,
    ) -> None:
        """``now_us`` tells microseconds since 1970; ``flush`` writes signs of life that are only in memory.

        ``steady_us`` counts microseconds whatever becomes of the wall clock. ``lease`` says whether this server is the
        one that watches: one that was frozen until another took over would presume by what it knew before that.
        """
        super().__init__()
        self.every_s = min(2.0, lease_s / 4)
        self._database = database
        self._lease = lease
        self._lease_us = int(lease_s * 1e6)
        self._now_us = now_us
        self._flush = flush
        self._up_since_us = now_us()
        self._steady_us = steady_us
        self._ahead_us = self._up_since_us - steady_us()
        self._new_id = IdFactory().new

    def tick(self) -> None:
        """Presume lost what has been silent for a lease by now, and take back what no worker has confirmed."""
        now_us = self._now_us()
        self._notice_step(now_us)
        if not self._lease.held():
            return
        with contextlib.suppress(LeaseLost):  # whoever holds it now does the same
            self._look(now_us)

    def _look(self, now_us: int) -> None:
        self._take_back(now_us)
        before_us = now_us - self._lease_us
        if before_us < self._up_since_us:
            return  # nobody could have been heard while this server was down
        self._flush()
        with self._database.read() as connection:
            silent = [row["id"] for row in journals.lapsed(connection, before_us)]
        for journal in silent:
            lost = presume_lost(self._lease, journal, before_us=before_us, now_us=now_us, new_id=self._new_id)
            if lost:
                _log.warning(
                    "Journal %s shows no sign of life: %d open runs are presumed lost.", journal, lost
                )

    def _notice_step(self, now_us: int) -> None:
        """Begin anew where the wall clock was set: by it, everybody has been silent for however much it gained."""
        ahead_us, before_us = now_us - self._steady_us(), self._ahead_us
        self._ahead_us = ahead_us
        if abs(ahead_us - before_us) > _STEP_US:
            self._up_since_us = now_us
            gained = (ahead_us - before_us) / 1e6
            _log.warning(
                "The clock was set by %+.0f s; nobody is presumed lost for one lease from now on.", gained
            )

    def _take_back(self, now_us: int) -> None:
        with self._database.read() as connection:
            silent = claims.unconfirmed(connection, now_us)
        for journal in silent:
            run = self._lease.write(partial(self._take_one_back, journal))
            if run is not None:
                _log.warning(
                    "Flow run %s was given to a worker that did not answer; it is planned again.", run
                )

    def _take_one_back(self, journal: str, connection: Connection) -> str | None:
        now_us = self._now_us()
        return claims.take_back(connection, journal, now_us, new_id=lambda: self._new_id(now_us))
