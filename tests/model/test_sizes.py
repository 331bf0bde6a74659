"""Sizes: what people write is read as they mean it, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.sizes import size_of, size_text


@pytest.mark.parametrize(
    ("value", "bytes_"),
    [
        (1, 1), ("1", 1), ("1b", 1), (1024.9, 1024), ("512MB", 512_000_000), ("512 mb", 512_000_000),
        ("512M", 512_000_000), ("512Mi", 512 * 1024**2), ("512MiB", 512 * 1024**2), ("1.5GiB", 3 * 512 * 1024**2),
        ("2.3kB", 2300), ("0.1GB", 100_000_000), (" 2 TB ", 2 * 10**12), ("0.5k", 500),
    ],
)  # fmt: skip
def test_a_size_is_read(value: object, bytes_: int) -> None:
    """MB are thousands of thousands, MiB 1024 times 1024."""
    assert size_of(value) == bytes_


@pytest.mark.parametrize(
    "value",
    ["", "MB", "ib", "1ib", "-1", "-5MB", "0", 0, 0.5, -1, True, None, "1e3", "five", "1 2", "1,5GB", "1_000", "9" * 20, "9" * 31, 1e300, "1." + "0" * 31, "1PB", "1MBB",
     float("nan"), float("inf"), [], {}, "٣MB"],
)  # fmt: skip
def test_what_is_no_size_is_refused_with_what_is_taken(value: object) -> None:
    """The text says how to write one."""
    with pytest.raises(ValueError, match="512MB"):
        size_of(value)


@given(st.integers(1, 10**15), st.sampled_from(["", "B", "b", " B"]))
def test_whole_bytes_are_exact(number: int, unit: str) -> None:
    """Also above what a float holds exactly."""
    assert size_of(f"{number}{unit}") == size_of(number) == number


@given(st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.none()))
def test_anything_is_a_size_above_zero_or_a_value_error(value: object) -> None:
    """No other error, no zero, no fraction."""
    try:
        size = size_of(value)
    except ValueError:
        return
    assert isinstance(size, int) and size >= 1


@given(st.integers(1, 2**50))
def test_a_size_for_people_is_close(count: int) -> None:
    """It is within a twentieth, and reads back as a size."""
    assert abs(size_of(size_text(count)) - count) <= count * 0.05
