"""The run's clock: steady, whatever happens to the wall's."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.clock import AnchoredClock, from_datetime, iso, to_datetime


class Hands:
    """Two clocks that are turned by hand."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000_000_000_000
        self.steady = 5_000_000_000

    def clock(self, anchor: tuple[int, int] | None = None) -> AnchoredClock:
        return AnchoredClock(anchor, wall_ns=lambda: self.wall, steady_ns=lambda: self.steady)

    def advance(self, us: int) -> None:
        self.wall += us * 1000
        self.steady += us * 1000


@pytest.mark.parametrize("step_s", [-86_400, -1, 1, 86_400])
def test_a_stepped_wall_clock_does_not_disorder_a_run(step_s: int) -> None:
    """What was read once from the wall is enough."""
    hands = Hands()
    clock = hands.clock()
    before = clock.now_us()
    hands.wall += step_s * 1_000_000_000
    hands.advance(1_500)

    assert before + 1_500 == clock.now_us()


def test_processes_that_share_an_anchor_tell_the_same_time() -> None:
    """A process of a pool that starts after a step of the wall clock agrees with its parent."""
    hands = Hands()
    parent = hands.clock()
    hands.wall -= 3_600_000_000_000
    hands.advance(10)
    child = hands.clock(parent.anchor)

    assert parent.now_us() == child.now_us()


def test_a_patched_time_does_not_reach_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries that freeze time replace the functions of the module ``time``."""
    clock = AnchoredClock()
    before = clock.now_us()
    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "clock_gettime", "clock_gettime_ns"):
        monkeypatch.setattr(time, name, lambda *_: 0)
    after = clock.now_us()
    anew = AnchoredClock().now_us()
    monkeypatch.undo()

    assert 0 <= after - before < 60_000_000
    assert 0 <= anew - before < 60_000_000


def test_the_clock_tells_the_walls_time_and_goes_on() -> None:
    """Real clocks: it agrees with the wall, and never goes back."""
    clock = AnchoredClock()
    readings = [clock.now_us() for _ in range(1000)]

    assert abs(readings[0] - time.time_ns() // 1000) < 1_000_000
    assert sorted(readings) == readings


@given(st.integers(0, 253_402_300_799_999_999))
def test_moments_become_datetimes_and_come_back(moment: int) -> None:
    """Nothing is lost to floating point, from 1970 to the year 9999."""
    assert moment == from_datetime(to_datetime(moment))
    assert timezone.utc == to_datetime(moment).tzinfo


@given(st.integers(0, 253_402_300_799_999_999))
def test_the_text_of_a_moment_is_the_contracts(moment: int) -> None:
    """ISO 8601 with microseconds, always six digits, and Z."""
    text = iso(moment)

    assert len("2024-01-01T00:00:00.000000Z") == len(text)
    assert to_datetime(moment) == datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(
        tzinfo=timezone.utc
    )


def test_a_naive_datetime_is_read_as_utc_and_an_aware_one_by_its_zone() -> None:
    """The machine's own zone plays no part."""
    naive = datetime(2026, 1, 1, 12)
    tokyo = datetime(2026, 1, 1, 21, tzinfo=timezone(timedelta(hours=9)))

    assert from_datetime(naive) == from_datetime(tokyo)
