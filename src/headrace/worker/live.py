"""The runs that a worker has started, or found when it began: what counts against its limit."""

from __future__ import annotations

import os
import select
import time
from typing import NamedTuple

from ..journal.spool import Folder, Spool, is_alive, owner_of
from ..model.orders import Order
from .launcher import Running
from .launchers.process import ProcessRun, supervisor_of

_KNOWN_S = 60.0
"""How long a worker tells the server of an attempt that it was given, and that its supervisor should have begun by then."""

_REMEMBERED_S = 3600.0
"""How long it remembers itself, so that what is given twice is begun once."""


class Live(NamedTuple):
    """A run that was started."""

    order: Order
    folder: Folder
    running: Running
    since: float
    """By ``time.monotonic()``."""


class LiveRuns:
    """Runs by their journal; to be used under the worker's lock."""

    def __init__(self) -> None:
        self._runs: dict[str, Live] = {}
        self._given: dict[str, float] = {}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def __len__(self) -> int:
        return len(self._runs)

    def given(self, journal: str) -> bool:
        """Take note of an attempt; return whether it is a new one."""
        new = journal not in self._given
        self._given.setdefault(journal, time.monotonic())
        return new

    def forget(self, journal: str) -> None:
        """Forget an attempt that could not be begun: it may be given again."""
        self._given.pop(journal, None)

    def have(self) -> list[str]:
        """Return the journals of the attempts that need not be given again."""
        now = time.monotonic()
        for journal in [
            j for j, at in self._given.items() if at < now - _REMEMBERED_S and j not in self._runs
        ]:
            del self._given[journal]
        return [journal for journal, at in self._given.items() if at > now - _KNOWN_S]

    def add(self, live: Live) -> None:
        """Take a run that was started."""
        self._runs[live.folder.id] = live
        self.wake()

    def all(self) -> list[Live]:
        """Return the runs that have not ended."""
        return list(self._runs.values())

    def ended(self) -> list[Live]:
        """Return the runs that have ended since the last look, and forget them."""
        gone = [live for live in self._runs.values() if live.running.poll() is not None]
        for live in gone:
            del self._runs[live.folder.id]
        return gone

    def wake(self) -> None:
        """Have :meth:`wait` return; any thread and any signal handler may call it."""
        try:
            os.write(self._wake_write, b"!")
        except OSError:
            return  # full: it is awake

    def wait(self, seconds: float) -> None:
        """Wait until a run ends, somebody wakes, or time is over."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        for live in self.all():
            fd = live.running.fileno()
            if fd is not None:
                poll.register(fd, select.POLLIN)
        poll.poll(seconds * 1000)
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            return


def left_running(spool: Spool, worker: str) -> list[Live]:
    """Return the runs of this host that an earlier life of this worker started and that still go on."""
    found = []
    for folder in spool.folders():
        order, header = folder.order(), owner_of(folder)
        if order is not None and header is not None and order.worker == worker and is_alive(header):
            running = ProcessRun(folder, header.pid, supervisor_of(folder), header.started)
            found.append(Live(order, folder, running, time.monotonic()))
    return found
