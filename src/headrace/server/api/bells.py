"""Bells: how a thread that has news wakes the poll that waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

_NOTED = 10_000
"""Things of which it is known when they were rung for last; with more, all count as rung for just now."""


class Bells:
    """One bell for each thing that somebody waits for; to be waited for on one event loop, rung from anywhere.

    Supervisors wait for commands to their journal, workers for runs of a queue or a deployment.
    """

    def __init__(
        self, tell: Callable[[Collection[str]], None] = lambda _: None, *, one_by_one: bool = False
    ) -> None:
        """``tell`` lets the bells of other servers ring; ``*`` are all of them.

        ``one_by_one`` wakes of those who wait for a thing the one who has waited longest and is not woken yet; who
        takes something, or goes, rings for the next. Fifty who look for one run would be in each other's way.
        """
        self._tell = tell
        self._one_by_one = one_by_one
        self._waiting: dict[str, dict[asyncio.Event, None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._rings = 0
        self._rung: dict[str, int] = {}
        self._rung_all = 0
        self.closed = False

    def mark(self) -> int:
        """Return what tells rings from now on from those before; any thread may call it."""
        with self._lock:
            return self._rings

    def quiet_since(self, mark: int, *things: str) -> bool:
        """Say whether nobody has rung for one of ``things`` since a mark; any thread may call it."""
        with self._lock:
            return self._rung_all <= mark and all(self._rung.get(thing, 0) <= mark for thing in things)

    def _note(self, *things: str) -> None:
        with self._lock:
            self._rings += 1
            if not things or len(self._rung) >= _NOTED:
                self._rung_all = self._rings
                self._rung = {}
            self._rung.update(dict.fromkeys(things, self._rings))

    @contextmanager
    def waiting(self, *things: str) -> Iterator[asyncio.Event]:
        """Give an event that is set when one of ``things`` is rung for, or when the server ends."""
        self._loop = asyncio.get_running_loop()
        event = asyncio.Event()
        if self.closed:
            event.set()
        for thing in things:
            self._waiting.setdefault(thing, {})[event] = None
        try:
            yield event
        finally:
            for thing in things:
                self._leave(thing, event)

    def _leave(self, thing: str, event: asyncio.Event) -> None:
        events = self._waiting.get(thing, {})
        events.pop(event, None)
        if not events:
            self._waiting.pop(thing, None)

    def waited_for(self) -> list[str]:
        """Return what somebody waits for; any thread may call it."""
        return list(self._waiting)

    def ring(self, *things: str | None) -> None:
        """Wake whoever waits for one of ``things``, at other servers too; any thread may call it."""
        self.ring_here(*things)
        if told := [thing for thing in things if thing is not None]:
            self._tell(told)

    def ring_here(self, *things: str | None) -> None:
        """Wake whoever waits at this server for one of ``things``; any thread may call it."""
        if rung := [thing for thing in things if thing is not None]:
            self._note(*rung)
        if self._loop is not None and not self._loop.is_closed():
            for thing in rung:
                if thing in self._waiting:
                    self._loop.call_soon_threadsafe(self._set, thing)

    def ring_all(self) -> None:
        """Wake everybody, to look again, at other servers too; any thread may call it."""
        self.ring_all_here()
        self._tell(["*"])

    def ring_all_here(self) -> None:
        """Wake everybody at this server; any thread may call it."""
        self._note()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set_all)

    def close(self) -> None:
        """Wake everybody for good; any thread may call it."""
        self.closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set_all)

    def _set(self, thing: str) -> None:
        for event in self._waiting.get(thing, ()):
            if not event.is_set():
                event.set()
                if self._one_by_one:
                    return

    def _set_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()
