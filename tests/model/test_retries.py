"""How long a retry waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.retries import retry_delay

DELAYS = st.none() | st.integers(0, 1000) | st.floats(0, 1000) | st.lists(st.floats(0, 1000), max_size=5)


@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        (None, [0, 0, 0]),
        (0, [0, 0, 0]),
        (2.5, [2.5] * 3),
        ([1, 5], [1, 5, 5]),
        ([], [0, 0, 0]),
        ((3,), [3, 3, 3]),
    ],
)
def test_each_retry_has_its_delay(delays: object, expected: list[float]) -> None:
    """A list gives each its own, and its last one to all further ones."""
    assert expected == [retry_delay(delays, attempt) for attempt in (1, 2, 3)]  # type: ignore[arg-type]


@given(DELAYS, st.integers(1, 20), st.floats(0, 10), st.floats(0, 1, exclude_max=True))
def test_jitter_only_lengthens_and_within_its_factor(
    delays: object, attempt: int, jitter: float, chance: float
) -> None:
    """The delay is at least what was asked for: a server said "not before"."""
    base = retry_delay(delays, attempt)  # type: ignore[arg-type]
    spread = retry_delay(delays, attempt, jitter=jitter, rng=lambda: chance)  # type: ignore[arg-type]

    assert base <= spread <= base * (1 + jitter) + 1e-9


def test_jitter_spreads() -> None:
    """Many runs do not come back together."""
    assert len({round(retry_delay(10, 1, jitter=1.0), 6) for _ in range(100)}) > 50


def test_without_jitter_chance_plays_no_part() -> None:
    """No random number is drawn."""

    def never() -> float:
        raise AssertionError("drawn")

    assert retry_delay(4, 1, jitter=None, rng=never) == 4.0
    assert retry_delay(4, 1, jitter=0, rng=never) == 4.0
