"""What a supervisor needs of a server: three calls, whoever carries them out."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec


class Command(msgspec.Struct, omit_defaults=True):
    """Something the server asks of a process: ``action`` is ``cancel``, ``suspend`` or ``resume``."""

    id: int
    """Grows with time within a journal; pass the greatest seen as ``after``."""
    action: str
    flow_run_id: str
    who: str | None = None
    asked_us: int | None = None
    payload: Any = None
    """What goes with it: for ``resume`` ``{paused, key, input}``, the pause that is over and what was given;
    for ``suspend`` ``{pause_key, pause_timeout}``."""


class JournalPort(Protocol):
    """Where journals are shipped to. Every call may block and is made off the supervisor's watch loop.

    Raises:
        ServerUnavailable: no answer, or one that says to come again; try later.
        ApiError: the server refused for good; ``status`` and ``body`` say why.
    """

    def offset(self, journal: str) -> int:
        """Return how many bytes of the journal the server holds; 0 when it does not know it."""
        ...

    def append(self, journal: str, offset: int, data: bytes) -> int:
        """Hand over whole lines that begin at byte ``offset``; return how many bytes the server holds now.

        Raises:
            OffsetMismatch: the server's copy ends before ``offset``; ``expected`` says where.
        """
        ...

    def commands(self, journal: str, *, after: int, wait: float) -> list[Command]:
        """Return commands newer than ``after``, waiting up to ``wait`` seconds for one; it is a sign of life."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...
