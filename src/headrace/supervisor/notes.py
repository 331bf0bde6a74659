"""What a supervisor itself writes into the journal it stands over."""

from __future__ import annotations

from ..journal.spool import Folder
from ..journal.writer import JournalWriter
from ..model import entries
from ..model.clock import AnchoredClock

LOGGER = "headrace.supervisor"


class Notes:
    """Append records at the journal's end, by the clock of the run."""

    def __init__(self, folder: Folder, clock: AnchoredClock) -> None:
        self._folder = folder
        self._lines: JournalWriter | None = None
        """Stays open between lines: a run may print thousands a second."""
        self.now = clock.now_us

    def append(self, *records: entries.Entry) -> bool:
        """Write records of our own in one go; return whether they are there: a full disk has no room for them."""
        writer = JournalWriter(self._folder.journal)
        written = writer.append(_text(*records), keep=True)
        writer.close()
        return written

    def tell(self, run: str | None, level: int, message: str, *, logger: str = LOGGER) -> bool:
        """Write a line into a flow run's log, ``level`` as in ``logging``; return whether it is there."""
        if self._lines is None:
            self._lines = JournalWriter(self._folder.journal)
        return self._lines.append(_text(entries.Log(self.now(), level, logger, message, run)))

    def close(self) -> None:
        """Give the descriptor back."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None


def _text(*records: entries.Entry) -> bytes:
    return b"".join(entries.encode(record) + b"\n" for record in records)
