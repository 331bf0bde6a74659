"""Bells: how a thread that adds a command wakes the poll that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Bells:
    """One bell for each journal whose supervisor waits; to be waited for on one event loop, rung from anywhere."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    @contextmanager
    def waiting(self, journal: str) -> Iterator[asyncio.Event]:
        """Give an event that is set when something is asked of ``journal``, or when the server ends."""
        self._loop = asyncio.get_running_loop()
        event = asyncio.Event()
        if self.closed:
            event.set()
        self._waiting.setdefault(journal, set()).add(event)
        try:
            yield event
        finally:
            events = self._waiting[journal]
            events.discard(event)
            if not events:
                del self._waiting[journal]

    def journals(self) -> list[str]:
        """Return the journals that somebody waits for; any thread may call it."""
        return list(self._waiting)

    def ring(self, journal: str) -> None:
        """Wake whoever waits for ``journal``; any thread may call it."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set, journal)

    def close(self) -> None:
        """Wake everybody for good; any thread may call it."""
        self.closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set_all)

    def _set(self, journal: str) -> None:
        for event in self._waiting.get(journal, ()):
            event.set()

    def _set_all(self) -> None:
        for journal in self._waiting:
            self._set(journal)
