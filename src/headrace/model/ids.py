"""Identifiers: UUIDs of version 7, so that sorting by id is sorting by time."""

from __future__ import annotations

import os
import random
from typing import NewType

RunId = NewType("RunId", str)
"""A flow run's or task run's id: canonical lower-case UUID text, 36 characters."""

JournalId = NewType("JournalId", str)
"""A journal's id, in the same form."""


class IdFactory:
    """Make ids from a private random source, so that a user's ``random.seed()`` cannot repeat them.

    A forked child must make its own factory (or call :meth:`reseed`): it would repeat its parent's ids.
    """

    def __init__(self) -> None:
        self._bits = random.Random(os.urandom(16)).getrandbits

    def reseed(self) -> None:
        """Start a new random stream; to be called in a forked child."""
        self._bits = random.Random(os.urandom(16)).getrandbits

    def new(self, now_us: int) -> str:
        """Return a new id for the moment ``now_us`` (microseconds since 1970, UTC).

        RFC 9562, 5.7: 48 bits of milliseconds, then version and 12 bits that hold the
        microseconds within the millisecond (method 3 of 6.2), then 62 random bits.
        """
        millis, micros = divmod(now_us, 1000)
        number = (millis << 80) | (0x7000 | (micros << 2)) << 64 | 0x8000_0000_0000_0000 | self._bits(62)
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first_of(moment_us: int) -> str:
    """Return an id that no id of the millisecond of ``moment_us``, or of a later one, comes before."""
    text = f"{max(0, moment_us) // 1000 << 80:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def made_at(id: str) -> int | None:
    """Return the moment of an id that tells when it was made, to the millisecond; ``None`` for others."""
    return int(id[:8] + id[9:13], 16) * 1000 if id[14:15] == "7" else None


def state_id_at(journal: str, offset: int) -> str:
    """Return the id of the state that the record at byte ``offset`` of a journal tells.

    A state's id *is* its place: shipping the same bytes twice makes the same id. The journal's
    random last 48 bits are combined with the offset, so two journals do not meet.
    """
    return f"{journal[:24]}{int(journal[24:], 16) ^ offset:012x}"
