"""Amounts of memory as people write them: ``512MB``, ``1.5GiB``, or a plain number of bytes."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)
_DECIMAL = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_UNITS = {
    **{f"{letter}{end}": 1000**power for letter, power in _DECIMAL.items() for end in ("", "b")},
    **{f"{letter}i{end}": 1024**power for letter, power in _DECIMAL.items() if letter for end in ("", "b")},
}


def parse_size(value: str | float) -> int:
    """Return a number of bytes for ``512MB``, ``1.5GiB``, ``64Mi``, ``1073741824``; case does not matter.

    ``kB``, ``MB``, ``GB``, ``TB`` count by 1,000; ``KiB``, ``MiB``, ``GiB``, ``TiB`` by 1,024; the ``B`` may be left out.

    Raises:
        ValueError: it is not such an amount, or is below one byte; the message says what would be.
    """
    if isinstance(value, bool):
        raise ValueError(_refusal(value))
    found = _FORM.fullmatch(str(value).strip())
    if found is None or found[2].lower() not in _UNITS:
        raise ValueError(_refusal(value))
    amount = int(Decimal(found[1]) * _UNITS[found[2].lower()])
    if amount < 1:
        raise ValueError(_refusal(value))
    return amount


def _refusal(value: object) -> str:
    return (
        f"{value!r} is not an amount of memory. Write a number of bytes above 0, or a number with a unit, as "
        "512MB, 1.5GiB or 64Mi (MB is 1,000,000 bytes, MiB is 1,048,576)."
    )


def size_text(count: int) -> str:
    """Return a number of bytes for people: ``812 B``, ``4.1 kB``, ``3.0 MB``; units count by 1,000."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes every size")
