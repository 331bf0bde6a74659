"""How long a poll may wait at the server: as long as is asked, or as the least patient proxy on the way lets it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from headrace.errors import ServerUnavailable

T = TypeVar("T")

_GATEWAY_TIMEOUT = 504
_PART = 0.8
"""Of the time after which a proxy gave up: the server answers before it does."""

_LEAST_S = 1.0
"""A proxy that gives up sooner is no proxy to work behind; and polls are not to become a load."""

_LATE_S = 0.5
"""A server that may wait so long, and has not answered so much later, is slow or gone itself."""


class Polling:
    """Polls of one kind by one way. A proxy that answers 504 before the server does teaches it to wait less."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._longest_s = float("inf")

    def ask(self, wait: float, send: Callable[[float], T], nothing: T) -> T:
        """Return ``send(seconds)``, where seconds are ``wait`` or fewer; ``nothing`` when a proxy would not wait.

        Raises:
            ServerUnavailable: there is no answer for any other reason.
        """
        wait = min(wait, self._longest_s)
        began = self._clock()
        try:
            return send(wait)
        except ServerUnavailable as error:
            took = self._clock() - began
            if error.status != _GATEWAY_TIMEOUT or not _LEAST_S <= took <= wait + _LATE_S:
                raise
            self._longest_s = max(took * _PART, _LEAST_S)
            return nothing
