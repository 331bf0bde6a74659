"""The feed: events as they happen, for those who listen on a websocket of this server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Event = dict[str, Any]

BACKLOG = 10_000
"""Events that one listener may lag behind; past it the oldest are dropped for it."""

KEPT = 2_000
"""Events kept for those who connect a moment too late."""


class Listener:
    """One listener's queue; used on the event loop alone."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=BACKLOG)
        self._some = asyncio.Event()

    def put(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)
        self._some.set()

    async def take(self) -> list[Event]:
        """Return all events that are there, waiting for one."""
        await self._some.wait()
        self._some.clear()
        events = list(self._events)
        self._events.clear()
        return events


class Feed:
    """Events of this server process, to be published from any thread."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._recent: deque[Event] = deque(maxlen=KEPT)
        self._loop: asyncio.AbstractEventLoop | None = None

    def publish(self, event: Event) -> None:
        """Hand an event to everybody who listens."""
        self._recent.append(event)
        if self._listeners and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_out, event)

    def recent(self) -> list[Event]:
        """Return the events that are still remembered, oldest first."""
        return list(self._recent)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Give a listener that gets what is published from now on."""
        self._loop = asyncio.get_running_loop()
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def _hand_out(self, event: Event) -> None:
        for listener in self._listeners:
            listener.put(event)
