"""Amounts of memory: what people write, in bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (1073741824, 1073741824),
        ("1073741824", 1073741824),
        ("512MB", 512_000_000),
        ("512 mb", 512_000_000),
        ("512M", 512_000_000),
        ("1.5GiB", 1_610_612_736),
        ("64Mi", 67_108_864),
        (" 2 KiB ", 2048),
        ("0.1GB", 100_000_000),
        ("1e", None),
        ("7b", 7),
    ],
)
def test_units_count_by_a_thousand_or_by_1024(text: str | int, expected: int | None) -> None:
    """MB and MiB are two things, and 0.1 GB is exactly a tenth."""
    if expected is None:
        with pytest.raises(ValueError, match="512MB"):
            parse_size(text)
    else:
        assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "MB", "-1MB", "0", "0.4", "1XB", "1,5GB", True, "1 i", "1ib", "nan", float("nan")]
)
def test_what_is_no_amount_is_refused_with_an_example(text: object) -> None:
    """The message shows what would be one."""
    with pytest.raises(ValueError, match=r"512MB, 1\.5GiB"):
        parse_size(text)  # type: ignore[arg-type]


@given(st.integers(1, 2**60))
def test_plain_numbers_are_bytes(count: int) -> None:
    """Text or number, it is the same."""
    assert parse_size(count) == parse_size(str(count)) == count


@given(st.integers(0, 2**50))
def test_a_size_for_people_is_close(count: int) -> None:
    """It is within a twentieth, and reads back as a size."""
    text = size_text(count)
    if count:
        assert abs(parse_size(text) - count) <= max(count * 0.05, 0)
