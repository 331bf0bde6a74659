"""Values for runtime attributes from the environment, for tests of code that reads them."""

from __future__ import annotations

import os


def from_environment(group: str, name: str) -> str | None:
    """Return ``HEADRACE__RUNTIME__<GROUP>__<NAME>``, or ``None``."""
    return os.environ.get(f"HEADRACE__RUNTIME__{group}__{name}".upper())
