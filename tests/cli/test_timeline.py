"""Bars of text on one scale."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.timeline import Span, bars

ZERO = datetime(2026, 1, 1, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return ZERO + timedelta(seconds=seconds)


def test_bars_show_what_ran_when() -> None:
    """One after the other, and one over both."""
    spans = [Span(at(0), at(10)), Span(at(0), at(4.9)), Span(at(5), at(10))]

    assert bars(spans, at(99), 10, full="#", open_end="~") == ["##########", "#####     ", "     #####"]


def test_what_still_runs_reaches_to_now() -> None:
    """And has another end."""

    assert bars([Span(at(0), at(5)), Span(at(5), None)], at(10), 10, full="#", open_end="~") == [
        "######    ",
        "     ####~",
    ]


def test_what_has_not_begun_is_blank() -> None:
    """Also when nothing has."""

    assert bars([Span(None, None)], at(0), 4) == ["    "]
    assert bars([], at(0), 4) == []


moments = st.integers(0, 10**9).map(lambda n: at(n / 1000))
spans = st.builds(
    lambda begin, length, ended: Span(begin, at((begin - ZERO).total_seconds() + length) if ended else None),
    moments,
    st.floats(0, 1e5),
    st.booleans(),
)


@given(st.lists(spans | st.just(Span(None, None)), max_size=20), moments, st.integers(1, 120))
def test_every_bar_has_the_width_and_what_ran_shows(found: list[Span], now: datetime, width: int) -> None:
    """Whatever the clock says, even a now before a start."""
    drawn = bars(found, now, width, full="#", open_end="~")

    assert len(drawn) == len(found)
    for span, bar in zip(found, drawn, strict=True):
        assert len(bar) == width
        assert bool(bar.strip()) == (span.start is not None)
