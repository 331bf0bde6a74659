"""Workers without processes that keep a server busy while something is done to it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..faults.protocol import Office, Worker, wait_until

QUEUE = "crowded"


class Crowd:
    """Two workers as servers see them, and the runs that they are given."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._office = Office(urls, [QUEUE], None)
        self._enough = threading.Event()
        self._workers = [Worker(number, QUEUE, urls, self._enough, at_once=4) for number in range(2)]
        for worker in self._workers:
            worker.start()

    def plan(self, count: int) -> None:
        """Make runs that are due."""
        self._office.plan(QUEUE, [0.02] * count)

    def until_completed(self, count: int) -> None:
        """Wait until so many are on record as completed."""
        wait_until(
            lambda: self._office.completed() >= count,
            self._workers,
            within=60,
            told=lambda: f"{self._office.completed()} of {count} completed",
        )

    def faults(self) -> int:
        """Return how often anybody had to ask again."""
        return sum(wire.faults for wire in (self._office.wire, *(each.wire for each in self._workers)))

    def close(self) -> None:
        """Let the workers end."""
        self._enough.set()
        for worker in self._workers:
            worker.join(60)
        self._office.close()
