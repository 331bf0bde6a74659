"""Draw when things ran, as bars of text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple


class Span(NamedTuple):
    """Something that ran from ``start`` until ``end``; ``None``: it has not begun, or has not ended."""

    start: datetime | None
    end: datetime | None


def bars(
    spans: Sequence[Span], now: datetime, width: int, *, full: str = "█", open_end: str = "▒"
) -> list[str]:
    """Return one line of ``width`` characters for each span, all on the same scale.

    What ran shows at least one character; what still runs reaches to ``now`` and ends with ``open_end``;
    what has not begun is blank.
    """
    starts = [span.start for span in spans if span.start is not None]
    if not starts:
        return [" " * width for _ in spans]
    first = min(starts)
    last = max(span.end or now for span in spans if span.start is not None)
    scale = max((last - first) / timedelta(seconds=1), 1e-6)
    return [_bar(span, first, scale, now, width, full, open_end) for span in spans]


def _bar(
    span: Span, first: datetime, scale: float, now: datetime, width: int, full: str, open_end: str
) -> str:
    if span.start is None:
        return " " * width
    begin = _column(span.start, first, scale, width)
    end = max(_column(span.end or now, first, scale, width), begin)
    length = end - begin + 1
    drawn = full * length if span.end is not None else full * (length - 1) + open_end
    return (" " * begin + drawn).ljust(width)


def _column(moment: datetime, first: datetime, scale: float, width: int) -> int:
    place = (moment - first) / timedelta(seconds=1) / scale
    return min(max(int(place * width), 0), width - 1)
