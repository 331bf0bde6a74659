"""How much is done at a time where nobody else is to wait for long: a slice ends by the clock, its pieces follow it."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST_ROWS = 100
"""Rows that one statement deletes at most: 1 to 3 ms on a machine that has nothing else to do (benchmarks/retention.py)."""

LEAST_ROWS = 10
"""Fewer take hardly less time: it is the statement's then, not the rows'."""


class Pace:
    """Says when a slice has taken its time, and how much the next piece of it is to be.

    Pieces are halved when one took a whole slice's time, and doubled when one takes less than half of it. So a slice is
    little longer than it is to be where a disk is slow; on a busy machine, where small pieces take as long, they are large.
    """

    def __init__(self, slice_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rows = MOST_ROWS
        """How many rows the next statement is to delete."""
        self._slice_s = slice_s
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Begin a slice."""
        self.over = False
        """Whether the slice had taken its time when the last piece was done."""
        self.mark()
        self._until = self._last + self._slice_s

    def mark(self) -> None:
        """Begin a piece: what came before, the locking of runs say, is none."""
        self._last = self._clock()

    def enough(self) -> bool:
        """Say whether the slice has taken its time."""
        return self._clock() >= self._until

    def took(self) -> bool:
        """Learn that a piece was done since the last mark, and begin another; return :attr:`over`."""
        began = self._last
        self.mark()
        took_s = self._last - began
        if took_s > self._slice_s:
            self.rows = max(LEAST_ROWS, self.rows // 2)
        elif took_s < self._slice_s / 2:
            self.rows = min(MOST_ROWS, self.rows * 2)
        self.over = self._last >= self._until
        return self.over
