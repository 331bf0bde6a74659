"""What a measurement is: named rows with floors, and a function that returns samples for one side."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .side import Side

Samples = dict[str, list[float]]
"""``{row title: one value a repetition}``, in the row's unit; a title that is missing was not measured."""


class Row(NamedTuple):
    """One line of the table."""

    title: str
    unit: str
    """``ms``, ``µs``, ``s``, ``B``, ``MB`` (10^6 bytes), ``×``, ``/s`` (the more, the better) or ``a second`` (the fewer)."""
    floor: float | None = None
    """What must be shown at least, in the same unit; ``None``: the figure is there to judge others by."""

    @property
    def more_is_better(self) -> bool:
        """Whether the floor is a least, not a most."""
        return self.unit == "/s"

    def holds(self, value: float) -> bool:
        """Say whether a value keeps the floor."""
        if self.floor is None:
            return True
        return value >= self.floor if self.more_is_better else value <= self.floor


class Measurement(NamedTuple):
    """Rows that are measured together."""

    rows: Sequence[Row]
    take: Callable[[Side], Samples]
    """Measure one side, from nothing to nothing: whatever it starts has ended when it returns."""
    peer: bool = False
    """Whether the peer has something to compare, in reasonable time."""


def median(values: Sequence[float]) -> float:
    """Return what is quoted of several repetitions."""
    return statistics.median(values)


@contextmanager
def private_home() -> Iterator[Path]:
    """Give a home folder that nobody else uses, and remove it."""
    home = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
