"""What was found a moment ago, for those who ask the same at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")

_MOST = 1_000
"""Keys that are remembered at most."""


class Recent(Generic[Value]):
    """Remembers a value under a key for some seconds; any thread may ask."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[Hashable, tuple[float, Value]] = {}

    def get(self, key: Hashable) -> Value | None:
        """Return what was put there, ``None`` when that was too long ago, or never."""
        found = self._kept.get(key)
        return found[1] if found is not None and self._clock() < found[0] + self._seconds else None

    def put(self, key: Hashable, value: Value) -> None:
        """Remember a value from now on."""
        if len(self._kept) >= _MOST:
            self._kept = {}
        self._kept[key] = (self._clock(), value)

    def forget(self, key: Hashable) -> None:
        """Remember nothing under a key."""
        self._kept.pop(key, None)
