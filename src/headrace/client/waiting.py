"""Wait for a flow run's end by asking the server, quickly at first, and through its restarts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from headrace.errors import ServerUnavailable
from headrace.model.states import TERMINAL

from .connection import Connection

Json = dict[str, Any]

_FIRST_PAUSE_S = 0.1
_GROWTH = 1.5


class Wait:
    """A wait for one flow run; :meth:`sync` and :meth:`aio` carry it out.

    ``timeout`` is in seconds, ``None`` for as long as it takes; ``interval`` is the longest pause between two questions,
    in seconds. A server that gives no answer is asked again: only the end of ``timeout`` ends the wait.
    """

    def __init__(
        self,
        connection: Connection,
        id: str,
        *,
        timeout: float | None,
        interval: float = 5.0,
        run: Json | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = run
        """What was last heard of the flow run; ``None`` while nothing was."""
        self._connection = connection
        self._id = id
        self._interval = max(interval, 0.0)
        self._clock = clock
        self._deadline = None if timeout is None else clock() + timeout
        self._pause = min(_FIRST_PAUSE_S, self._interval)

    @property
    def is_over(self) -> bool:
        """Whether the run is known to have ended."""
        return self.run is not None and self.run["state_type"] in TERMINAL

    def ask(self) -> float | None:
        """Ask once; return the seconds to sleep before the next time, or ``None`` when there is no more to wait for.

        Raises:
            ObjectNotFound: there is no such run.
            ServerUnavailable: nothing at all was heard until the time was over.
        """
        try:
            self.run = self._connection.request("GET", f"/flow_runs/{self._id}", retries=0).json()
        except ServerUnavailable:
            if self.run is None and self._left() <= 0:
                raise
        left = self._left()
        if self.is_over or left <= 0:
            return None
        pause, self._pause = self._pause, min(self._pause * _GROWTH, self._interval)
        return min(pause, left)

    def sync(self) -> Json:
        """Wait in this thread; return the run as it was last seen: ended, unless the time is over."""
        while (pause := self.ask()) is not None:
            time.sleep(pause)
        return self._last()

    async def aio(self) -> Json:
        """As :meth:`sync`, without holding up the loop."""
        while (pause := await asyncio.to_thread(self.ask)) is not None:  # noqa: ASYNC110  # another machine's event
            await asyncio.sleep(pause)
        return self._last()

    def _left(self) -> float:
        return float("inf") if self._deadline is None else self._deadline - self._clock()

    def _last(self) -> Json:
        assert self.run is not None  # ask() raises rather than end without an answer
        return self.run
