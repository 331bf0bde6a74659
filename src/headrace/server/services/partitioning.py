"""Makes partitions for the days to come, so that what is written finds its own and can be dropped with it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy.engine import Connection

from headrace.server.store import partitions
from headrace.server.store.database import Database
from headrace.server.store.partitions import Wanted
from headrace.server.store.streams import STREAMS, Stream

from .loop_lease import Lease, LeaseLost
from .service import Service

T = TypeVar("T")
_log = logging.getLogger("headrace.server")


class Partitioning(Service):
    """Look once a minute; something is written once a day or less often. On SQLite there is nothing to do."""

    every_s = 60.0

    def __init__(self, database: Database, lease: Lease) -> None:
        super().__init__()
        self._database = database
        self._lease = lease

    def start(self) -> None:
        """Look at once, before the server answers anybody, and start the loop."""
        self._survive(self.tick)
        super().start()

    def tick(self) -> None:
        """Make what is missing, if this server holds the lease of the loops."""
        if self._lease.held():
            with contextlib.suppress(LeaseLost):  # whoever holds it now does the same
                self.make()

    def make(self) -> int:
        """Make every partition that is missing, as far as no table is in use for long; return how many were made."""
        return sum(self._make(stream) for stream in STREAMS)

    def _make(self, stream: Stream) -> int:
        made = 0
        if self._look(partial(partitions.is_barred, stream=stream)):
            self._lease.write(partial(partitions.unbar, stream=stream))
        while wanted := self._look(partial(partitions.wanted, stream=stream)):
            if not self._make_one(stream, wanted):
                _log.debug("The partition %s is not made yet: its table is in use.", wanted.partition.name)
                break
            made += 1
        return made

    def _make_one(self, stream: Stream, wanted: Wanted) -> bool:
        if wanted.needs_bar:
            bar = partial(partitions.bar, stream=stream, partition=wanted.partition)
            # Not under the lease: it may take seconds, and whoever renews that would wait.
            prove = partial(partitions.prove, stream=stream)
            if not (self._lease.write(bar) and self._database.write(prove)):
                return False
        return self._lease.write(partial(partitions.attach, stream=stream, wanted=wanted))

    def _look(self, read: Callable[[Connection], T]) -> T:
        with self._database.read() as connection:
            return read(connection)
