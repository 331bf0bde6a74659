"""Sizes as people write them: ``512MB`` is 512,000,000 bytes, ``1.5GiB`` one and a half times 1024 cubed."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

_SIZE = re.compile(r"\s*([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*((?:[kmgt]i?)?)b?\s*", re.IGNORECASE)
_FACTORS: dict[str, int] = {
    **{letter + "i": 1024**power for power, letter in enumerate("kmgt", 1)},
    **{letter: 1000**power for power, letter in enumerate(("", *"kmgt"))},
}

TAKES = "a number of bytes above 0, as 536870912, 512MB or 1.5GiB (MB is 1000 * 1000 bytes, MiB 1024 * 1024)"
"""What :func:`size_of` reads, for messages."""


def size_of(value: Any) -> int:
    """Return the bytes that a number or a text such as ``512MB``, ``512 MiB`` or ``1.5g`` says.

    Letters of either case; ``M`` is ``MB``, ``Mi`` is ``MiB``. A fraction of a byte is cut.

    Raises:
        ValueError: it says no size, or none above 0.
    """
    if isinstance(value, str):
        amount = _read(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        amount = Decimal(value)
    else:
        raise ValueError(TAKES)
    if not 1 <= amount < 2**63:  # more does not fit into an order, nor into any machine
        raise ValueError(TAKES)
    return int(amount)


def _read(text: str) -> Decimal:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(TAKES)
    return Decimal(found[1]) * _FACTORS[found[2].lower()]  # decimal: 2.3kB is exactly 2,300 bytes


def size_text(count: int) -> str:
    """Return a number of bytes for people: ``812 B``, ``4.1 kB``, ``3.0 MB``; units count by 1,000."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes every size")
