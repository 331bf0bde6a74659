"""Which of the servers on a database turns the loops that must turn once: whoever holds the lease."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy.engine import Connection

from headrace.server.store import leases, schema
from headrace.server.store.database import Database

from .service import Service

T = TypeVar("T")

NAME = "loops"
"""The row of the one lease that all loops share."""

RENEW_S = 7.0
"""Seconds between renewals: one write each, all that an idle server writes."""

HOLD_S = 9.5
"""Seconds for which a renewal holds: long enough for one that is late, short enough for another server to take over."""

LOOK_S = 2.0
"""Seconds between two looks of a server that waits for the lease."""


_SOON_S = 0.05


class LeaseLost(Exception):
    """Another server has taken the lease; what was to be written under it was not."""


class Outage(NamedTuple):
    """A time without any server, in microseconds since 1970, UTC."""

    start_us: int
    """When a server was last known to be up."""
    end_us: int
    """When this one came up."""


class Lease(Protocol):
    """What says whether this process is to do what only one server does."""

    def held(self) -> bool:
        """Say whether it is, as far as can be told without asking the database."""

    def write(self, work: Callable[[Connection], T]) -> T:
        """Carry out a write if it still is; raise :class:`LeaseLost` otherwise."""


class Alone:
    """The lease of somebody who need not ask: a person who wants it done now, or a server that has no other beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def held(self) -> bool:
        """Return ``True``: a server that does the same meanwhile only does a part of it."""
        return True

    def write(self, work: Callable[[Connection], T]) -> T:
        """Carry out a write."""
        return self._database.write(work)


class _Grip(NamedTuple):
    fence: int
    until_us: int


class LoopLease(Service):
    """Take the lease when it is free and keep it: renewed every 7 s, lost 9.5 s after the last renewal."""

    every_s = LOOK_S

    def __init__(self, database: Database, *, now_us: Callable[[], int], holder: str | None = None) -> None:
        """``holder`` tells people which server it is; each life of a server is another."""
        super().__init__()
        self._database = database
        self._now_us = now_us
        self._holder = holder or f"{socket.gethostname()} pid {os.getpid()} {uuid.uuid4().hex[:8]}"
        self._grip: _Grip | None = None
        self._up_since_us = now_us()
        self._free_us = 0
        """When the lease ends that another server was seen to hold."""
        self.outage: Outage | None = None
        """How long no server was up before this one took the lease; ``None`` when it was the first ever."""

    def start(self) -> None:
        """Take the lease at once if it is free, before the server answers anybody, and start the loop."""
        self._survive(self.tick)
        super().start()

    def tick(self) -> None:
        """Renew the lease, or take it when it is free; give it up when newer code has outgrown this server's."""
        now_us = self._now_us()
        self.every_s = min(LOOK_S, self.every_s)  # should the database be away
        if not self._fits():
            self.finish()
            return
        if self._grip is not None:
            self._renew(self._grip, now_us)
        if self._grip is None:
            self._take(now_us)
        self.every_s = RENEW_S if self._grip is not None else self._look_s()

    def finish(self) -> None:
        """Give the lease up, so that another server need not wait until it runs out."""
        grip, self._grip = self._grip, None
        if grip is not None:
            self._hold(grip, self._now_us())

    def held(self) -> bool:
        """Say whether this server holds the lease, as far as can be told without asking the database."""
        return self.fence() is not None

    def fence(self) -> int | None:
        """Return the number under which the lease is held, ``None`` when it is not."""
        grip = self._grip
        return grip.fence if grip is not None and self._now_us() < grip.until_us else None

    def write(self, work: Callable[[Connection], T]) -> T:
        """Carry out ``work`` as :meth:`.Database.write` does, if nobody else has taken the lease meanwhile.

        Raises:
            LeaseLost: somebody has, or the lease was not held; nothing was written.
        """
        fence = self.fence()
        if fence is None:
            raise LeaseLost

        def guarded(connection: Connection) -> T:
            if not leases.is_current(connection, NAME, fence):
                raise LeaseLost
            return work(connection)

        return self._database.write(guarded)

    def _fits(self) -> bool:
        with self._database.read() as connection:
            return schema.standing_of(connection).fits

    def _look_s(self) -> float:
        """Return the pause before the next look: no longer than until the lease is free, should nobody renew it."""
        return min(LOOK_S, max(_SOON_S, (self._free_us - self._now_us()) / 1e6 + _SOON_S))

    def _renew(self, grip: _Grip, now_us: int) -> None:
        until_us = now_us + int(HOLD_S * 1e6)
        self._grip = grip._replace(until_us=until_us) if self._hold(grip, until_us) else None

    def _hold(self, grip: _Grip, until_us: int) -> bool:
        return self._database.write(lambda c: leases.renew(c, NAME, self._holder, grip.fence, until_us))

    def _take(self, now_us: int) -> None:
        with self._database.read() as connection:
            seen = leases.get(connection, NAME)
        if seen is not None and seen.until_us > now_us:
            self._free_us = seen.until_us
            return
        until_us, kind = now_us + int(HOLD_S * 1e6), self._database.kind
        fence = self._database.write(lambda c: leases.take(c, kind, NAME, self._holder, seen, until_us))
        if fence is None:
            return
        if seen is not None:
            self.outage = Outage(seen.until_us - int(HOLD_S * 1e6), self._up_since_us)
        self._grip = _Grip(fence, until_us)
