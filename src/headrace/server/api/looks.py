"""What was seen a moment ago where runs are to be had, for those who ask for the same places."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

from headrace.server.store.claims import Look

from .bells import Bells

READY_S = 0.2
"""How long runs that one worker left for others are taken to be there still; what a claim finds counts."""

NOTHING_S = 0.5
"""How long nothing is taken to be still nothing while no bell rings: another server's may be heard late, or never."""

_MOST = 1_000
"""Keys that are remembered at most."""


class Seen(NamedTuple):
    """A look, and when it was taken."""

    look: Look
    mark: int
    """Where the bells were before: see :meth:`~headrace.server.api.bells.Bells.mark`."""
    at_s: float

    def is_still_so(self, bells: Bells) -> bool:
        """Say whether nobody has rung since for what is waited for there."""
        return bells.quiet_since(self.mark, *self.look.places)


class Looks:
    """Remembers the last look of those who ask for runs of the same places; any thread may ask.

    Who finds that nothing was there, and that nobody has rung since, is where another is who looked then and waits: that
    one would not look again either. So fifty who wait for a full queue look as often as one.
    """

    def __init__(self, bells: Bells, clock: Callable[[], float] = time.monotonic) -> None:
        """``bells`` ring for places where there is something new; ``clock`` tells seconds."""
        self._bells = bells
        self._clock = clock
        self._kept: dict[Hashable, Seen] = {}

    def seen(self, look: Look, mark: int) -> Seen:
        """Return a look that was taken just now; ``mark`` is where the bells were before its transaction began.

        What was rung for while it was taken may have been missed.
        """
        return Seen(look, mark, self._clock())

    def get(self, key: Hashable, now_us: int) -> Seen | None:
        """Return what was seen, while it can be relied on; ``now_us`` is the server's time."""
        seen = self._kept.get(key)
        if seen is None:
            return None
        age_s = self._clock() - seen.at_s
        if seen.look.ready:
            return seen if age_s < READY_S else None
        is_due = seen.look.next_us is not None and seen.look.next_us <= now_us
        return seen if age_s < NOTHING_S and not is_due and seen.is_still_so(self._bells) else None

    def put(self, key: Hashable, seen: Seen) -> None:
        """Remember a look."""
        if len(self._kept) >= _MOST:
            self._kept = {}
        self._kept[key] = seen
