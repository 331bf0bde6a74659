"""Which contract we speak: the versions that clients compare before they trust a server."""

from __future__ import annotations

API_VERSION = "0.8.4"
"""The REST contract's version: what ``GET /version`` answers."""

OLDEST_API_VERSION = "0.8.0"
"""The oldest ``x-prefect-api-version`` that is served."""

API_VERSION_HEADER = "x-prefect-api-version"

CONTRACT_RELEASE = "3.9.1"
"""The release of the field's client whose contract this is: what ``GET /admin/version`` answers.

It is not Headrace's own version: clients refuse a server whose major differs from theirs.
"""


def parse(text: str) -> tuple[int, int, int]:
    """Return ``(0, 8, 4)`` for ``0.8.4``.

    Raises:
        ValueError: it is not three numbers with dots between.
    """
    first, second, third = text.strip().split(".")
    return int(first), int(second), int(third)
