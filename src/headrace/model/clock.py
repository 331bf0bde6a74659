"""A run's clock: read once from the wall, then from the machine's steady counter.

A stepped wall clock, or a test that patches ``time.time``, cannot disorder a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _steady_ns(
    read: Callable[[int], int] = time.clock_gettime_ns,
    clock: int = _BOOTTIME if _BOOTTIME is not None else time.CLOCK_MONOTONIC,
) -> int:
    # CLOCK_BOOTTIME goes on while the machine sleeps; the readers are bound as defaults because
    # libraries that freeze time replace the names in every module they find.
    return read(clock)


class AnchoredClock:
    """Tell the time in microseconds since 1970 (UTC), steadily.

    ``anchor`` is ``(wall_ns, steady_ns)`` read at the same moment; processes of one host that share
    an anchor tell the same time. Without it the clock is anchored now.
    """

    __slots__ = ("_offset_ns", "_read", "anchor")

    def __init__(
        self,
        anchor: tuple[int, int] | None = None,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        steady_ns: Callable[[], int] = _steady_ns,
    ) -> None:
        self._read = steady_ns
        self.anchor = anchor if anchor is not None else (wall_ns(), steady_ns())
        self._offset_ns = self.anchor[0] - self.anchor[1]

    def now_us(self) -> int:
        """Return microseconds since 1970, UTC."""
        return (self._read() + self._offset_ns) // 1000


def to_datetime(moment_us: int) -> datetime:
    """Return the aware UTC datetime of a moment in microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=moment_us)


def from_datetime(moment: datetime) -> int:
    """Return microseconds since 1970; a naive datetime is read as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def iso(moment_us: int) -> str:
    """Return the contract's text of a moment: ISO 8601 with microseconds and ``Z``."""
    return to_datetime(moment_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
