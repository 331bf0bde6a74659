"""Tells other servers whom to wake: a hint on PostgreSQL that may be lost, for all of them look now and then anyway."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection

from headrace.server.store.channel import Channel, open_channel
from headrace.server.store.database import Database

from .service import Service

_log = logging.getLogger("headrace.server")

EVERYBODY = "*"
"""Told instead of ids: let everybody look."""

PAUSE_S = 0.05
"""Seconds between two messages at least: what is told in between goes together."""

MANY = 500
"""More ids than these are told as :data:`EVERYBODY`."""

_IDLE_S = 30.0
_AWAY_S = 5.0


class Messenger(Service):
    """Pass the ids of what has news on to the other servers, and hear theirs; never on anybody's way to an answer."""

    every_s = 0.0

    def __init__(self, database: Database, *, hear: Callable[[Collection[str]], None]) -> None:
        """``hear`` is called with ids that another server told, or with :data:`EVERYBODY`."""
        super().__init__()
        self._database = database
        self._hear = hear
        self._lock = threading.Lock()
        self._to_tell: set[str] = set()
        self._channel: Channel | None = None
        self._sent_s = 0.0

    def tell(self, ids: Collection[str]) -> None:
        """Let the other servers wake who waits for one of ``ids``; any thread may call it, and never waits."""
        with self._lock:
            if self._channel is not None:  # otherwise they look by themselves
                self._to_tell.update(ids)
                self._channel.wake()

    def tick(self) -> None:
        """Hear and tell until there is nothing to do for half a minute, or the connection is lost."""
        channel = self._channel
        if channel is None:
            self.every_s = _AWAY_S  # should the database be away
            channel = open_channel(self._database)
            self.every_s = 0.0
            with self._lock:
                self._channel = channel
            self._hear([EVERYBODY])  # whatever was told while nobody listened
        if channel is None or self._stopping.is_set():  # told while it was opened: `stop` could not wake it
            return
        try:
            self._hear([id for told in channel.wait(_IDLE_S) for id in told.split()])
            self._send(channel)
        except ConnectionError as error:
            _log.info(
                "Hints to other servers pause until PostgreSQL is back: %s", " ".join(str(error).split())
            )
            self.every_s = _AWAY_S
            self._close()

    def stop(self) -> None:
        """End the loop and wait for the tick it is in."""
        self._stopping.set()
        with self._lock:
            if self._channel is not None:
                self._channel.wake()
        super().stop()

    def finish(self) -> None:
        """Give the connection back."""
        self._close()

    def _send(self, channel: Channel) -> None:
        if not self._to_tell:
            return
        self._stopping.wait(max(0.0, self._sent_s + PAUSE_S - time.monotonic()))
        with self._lock:
            told, self._to_tell = self._to_tell, set()
        channel.send([EVERYBODY] if len(told) > MANY else sorted(told))
        self._sent_s = time.monotonic()

    def _close(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
            self._to_tell = set()
        if channel is not None:
            with contextlib.suppress(OSError):
                channel.close()
