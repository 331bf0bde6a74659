"""Virtual time: one heap of things to happen, one source of chance, and a hash of all that happened."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

START_US = 1_780_000_000_000_000
"""When every simulation begins, in microseconds since 1970: some day in 2026."""

SECOND = 1_000_000


class Violation(AssertionError):
    """Something that must never happen has happened."""


class World:
    """The one scheduler: whatever happens, happens in its order, which the seed alone decides."""

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        self.random = random.Random(seed)
        self.now_us = START_US
        self.events = 0
        self.is_stormy = True
        """Whether faults happen; once they end, all must come to rest."""
        self._verbose = verbose
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._trace = blake2b(digest_size=8)
        self._ids = 0

    def after(self, seconds: float, do: Callable[..., None], *args: Any) -> None:
        """Let something happen after a time."""
        self._order += 1
        heapq.heappush(self._heap, (self.now_us + int(seconds * SECOND), self._order, do, args))

    def run(self, until_us: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let things happen up to a moment, or until ``is_over``."""
        heap = self._heap
        while heap and heap[0][0] <= until_us and not is_over():
            self.now_us, _, do, args = heapq.heappop(heap)
            self.events += 1
            do(*args)
        if not is_over():
            self.now_us = max(self.now_us, until_us)

    def note(self, text: str) -> None:
        """Keep what happened in the trace: two simulations are the same when their hashes are."""
        self._trace.update(f"{self.now_us} {text}\n".encode())
        if self._verbose:
            print(f"{(self.now_us - START_US) / SECOND:12.3f} {text}")

    def hash(self) -> str:
        """Return the hash of all that was noted."""
        return self._trace.hexdigest()

    def chance(self, likelihood: float) -> bool:
        """Say whether a fault of this likelihood strikes now; none does once the storm is over."""
        return self.is_stormy and self.random.random() < likelihood

    def new_id(self, _now_us: int = 0) -> str:
        """Return an id that no other thing has, later ones greater."""
        self._ids += 1
        return f"{self._ids:08x}-0000-7000-8000-{self.random.getrandbits(48):012x}"


class Actor:
    """Something that lives and dies; what it meant to do later dies with it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_up = True
        self.life = 0
        """Which life of it this is."""

    def later(self, seconds: float, do: Callable[..., None], *args: Any) -> None:
        """Do something after a time, if this life lasts until then."""
        self.world.after(seconds, self._go, self.life, do, args)

    def end(self) -> None:
        """Die."""
        self.is_up = False
        self.life += 1

    def _go(self, life: int, do: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.is_up and life == self.life:
            do(*args)
