"""Sizes as people write them: ``512MB`` is 512,000,000 bytes, ``1.5GiB`` one and a half times 1024 cubed."""

from __future__ import annotations

import math
import re
from typing import Any

_SIZE = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

TAKES = "a number of bytes above 0, as 536870912, 512MB or 1.5GiB (MB is 1000 * 1000 bytes, MiB 1024 * 1024)"
"""What :func:`size_of` reads, for messages."""


def size_of(value: Any) -> int:
    """Return the bytes that a number or a text such as ``512MB``, ``512 MiB`` or ``1.5g`` says.

    Letters of either case; ``M`` is ``MB``, ``Mi`` is ``MiB``. A fraction of a byte is cut.

    Raises:
        ValueError: it says no size, or none above 0.
    """
    if isinstance(value, str):
        found = _SIZE.fullmatch(value)
        if found is None or (found[3] and not found[2]):
            raise ValueError(TAKES)
        base = 1024 if found[3] else 1000
        bytes_ = (
            float(found[1]) * base ** _POWERS[found[2].lower()]
            if found[2] or "." in found[1]
            else int(found[1])
        )
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        bytes_ = value
    else:
        raise ValueError(TAKES)
    if not math.isfinite(bytes_) or bytes_ < 1:
        raise ValueError(TAKES)
    return int(bytes_)


def size_text(count: int) -> str:
    """Return a number of bytes for people: ``812 B``, ``4.1 kB``, ``3.0 MB``; units count by 1,000."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes every size")
