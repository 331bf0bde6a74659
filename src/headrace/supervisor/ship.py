"""Ship a journal: sync it, send it, remember nothing but an offset.

Only what is synced is shipped, so the server never knows more of a journal than the disk does. The offset
is the server's; what is kept here can be lost without harm.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..client.port import JournalPort
from ..errors import ApiError, OffsetMismatch, ServerUnavailable
from ..journal.reader import read_whole
from ..journal.spool import Folder
from ..model.shipping import Shipping
from .tail import OpenRuns

_BATCH = 1 << 20
"""Bytes sent at once under load: large enough to compress well, small enough to be sent again."""

_LOOK_EVERY = (0.03, 0.25)
"""Seconds between looks at the file: while it grows, and when it has not grown for a while."""

_BUSY_PAUSE = 0.1
"""Seconds between shipments while the journal grows steadily: more in one go costs everyone less."""

_FIRST_STATE_S = (0.004, 0.1)
"""Seconds between looks for a run's first state, so that it goes with the records before it, and seconds at most."""

_YOUNG_S = 1.0
"""For so many seconds a journal is young: somebody may just look whether its run has begun, or has ended."""

_EAGER = (3, 0.01)
"""So many shipments of a young journal are not held up, with so many seconds between looks."""

_REFUSED_PAUSE = 10.0
"""Seconds between tries when the server refuses for good: somebody has to mend a setting first."""


class Still(NamedTuple):
    """A journal while nobody reads it for shipping."""

    start: int
    """From here on the server may lack it."""
    ends: list[int]
    """Where, after ``start``, the server's copy may end: what was sent up to there was not acknowledged."""
    end: int
    """The end of its last whole line that was looked at."""


class Shipper:
    """Ships one journal in a thread of its own; watching the process never waits for it."""

    def __init__(self, folder: Folder, port: JournalPort, runs: OpenRuns, log: Callable[[str], None]) -> None:
        self._folder = folder
        self._port = port
        self._runs = runs
        self._log = log
        self._read_fd = os.open(folder.journal, os.O_RDONLY | os.O_CLOEXEC)
        self._synced = 0
        self._fed = 0
        self._wake = threading.Event()
        self._stop = False
        self._lock = threading.Lock()
        self._ends: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="ship", daemon=True)
        self._is_first = False
        self._shipping = Shipping(is_first=False)
        self.away_since: float | None = None
        """Since when the server has not answered (monotonic seconds); ``None`` while it does."""

    @property
    def offset(self) -> int | None:
        """How many bytes the server holds; ``None`` until it has said so."""
        return self._shipping.offset

    @property
    def is_first(self) -> bool:
        """Whether nobody can have shipped any of the journal before; to be said before the start."""
        return self._is_first

    @is_first.setter
    def is_first(self, is_so: bool) -> None:
        self._is_first = is_so
        self._shipping = Shipping(is_first=is_so)

    def start(self) -> None:
        """Begin to ship."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the file now."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread after what it is doing."""
        self._stop = True
        self._wake.set()
        self._thread.join(timeout=2)

    def catch_up(self) -> int:
        """Sync the file and feed all whole lines to the open runs; return the file's synced size."""
        with self._lock:
            size = os.fstat(self._read_fd).st_size
            if size > self._synced:
                with contextlib.suppress(OSError):  # a file system that cannot sync: there is nothing better
                    getattr(os, "fdatasync", os.fsync)(self._read_fd)
                self._synced = size
            while self._fed < self._synced:
                data = read_whole(self._folder.journal, self._fed, _BATCH)
                if not data:
                    break
                self._runs.feed(data)
                self._fed += len(data)
            return self._synced

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[Still | None]:
        """Keep the journal from being read for shipping; ``None`` while it is not known what the server may hold."""
        with self._lock:
            start = self.offset
            if start is None:
                yield None
            else:
                yield Still(start, sorted(end for end in self._ends if end > start), self._fed)

    def is_done(self) -> bool:
        """Whether the server holds every whole line of the file."""
        return self.offset is not None and self.offset >= self._fed and self._fed > 0

    def _run(self) -> None:
        shipments = 0
        quiet = 0.0
        young_until = time.monotonic() + _YOUNG_S
        self._await_first_state()
        while not self._stop:
            try:
                grew = self._step()
                self.away_since = None
            except ServerUnavailable:
                self.away_since = self.away_since or time.monotonic()
                self._rest(self._shipping.is_away(random.random()))
                continue
            except ApiError as error:
                self._log(f"the server refuses the journal: {error}")
                self.away_since = self.away_since or time.monotonic()
                self._rest(_REFUSED_PAUSE)
                continue
            except Exception as error:  # noqa: BLE001  # shipping goes on, whatever one attempt met
                self._log(f"shipping met {type(error).__name__}: {error}")
                self._rest(1.0)
                continue
            quiet = 0.0 if grew else min(quiet + 0.02, 1.0)
            shipments += grew
            if shipments < _EAGER[0] and time.monotonic() < young_until:
                self._rest(_EAGER[1])
            else:
                self._rest(_BUSY_PAUSE if grew else max(_LOOK_EVERY[0], quiet * _LOOK_EVERY[1]))

    def _await_first_state(self) -> None:
        """Let a process that just begins say so first: one shipment of both costs half as much as two."""
        until = time.monotonic() + _FIRST_STATE_S[1]
        with contextlib.suppress(OSError):  # the home was removed: shipping itself says so
            while self.is_first and not self._runs.told and not self._stop and time.monotonic() < until:
                self._rest(_FIRST_STATE_S[0])
                self.catch_up()

    def _rest(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _step(self) -> bool:
        """Sync and send what there is, at most some batches; return whether anything was sent."""
        self.catch_up()
        shipping, journal = self._shipping, self._folder.id
        if shipping.offset is None:
            shipping.holds(self._port.offset(journal))
        sent = False
        while not self._stop and (piece := shipping.piece(self._fed, _BATCH)) is not None:
            begin, end = piece
            with self._lock:
                data = read_whole(self._folder.journal, begin, end - begin)
                self._ends = {end for end in self._ends if end > begin} | {begin + len(data)}
            if not data:
                break
            try:
                shipping.holds(self._port.append(journal, begin, data))
            except OffsetMismatch as mismatch:
                shipping.holds(mismatch.expected)
            sent = True
        if sent:
            with contextlib.suppress(OSError):
                self._folder.set_shipped(shipping.offset or 0)
        return sent
