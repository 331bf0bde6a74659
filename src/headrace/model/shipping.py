"""How a journal is shipped: what to send next, and when to try again. No clock, no file, no network.

A position in a journal is a byte offset, and the server's counts: whatever was sent twice, lost or answered late, the
next piece begins where the server says that it ends.
"""

from __future__ import annotations

BACKOFF_S = (0.1, 3.0)
"""Seconds between tries while the server is away: about the first, and about the longest."""

_DOUBLED = 10  # times: past that the longest pause is reached


class Shipping:
    """How far one journal was shipped, as far as its supervisor knows."""

    def __init__(self, *, is_first: bool) -> None:
        """``is_first``: nobody can have shipped any of it before, so the server need not be asked."""
        self.offset: int | None = 0 if is_first else None
        """How many bytes the server holds; ``None`` until it has said so."""
        self._failures = 0

    def piece(self, synced: int, most: int) -> tuple[int, int] | None:
        """Return from where to where to send, of whole lines that are synced up to ``synced``; ``None``: nothing now.

        Only what is synced is shipped, so the server never knows more of a journal than the disk does. ``most`` are the
        bytes to be sent at once. The offset must be known.
        """
        if self.offset is None or self.offset >= synced:
            return None
        return self.offset, min(synced, self.offset + most)

    def holds(self, offset: int) -> None:
        """Take the server's word for how much it holds: after a piece, or because a piece began elsewhere."""
        self.offset = offset
        self._failures = 0

    def is_away(self, luck: float) -> float:
        """Take that the server did not answer; return the seconds until the next try.

        ``luck``, from 0 to 1, spreads the tries of many supervisors whose server is away.
        """
        self._failures += 1
        first, longest = BACKOFF_S
        doubled: float = first * 2 ** min(self._failures, _DOUBLED)
        return min(longest, doubled) * (0.7 + 0.6 * luck)
