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
        self.now = clock.now_us

    def append(self, *records: entries.Entry) -> bool:
        """Write records of our own in one go; return whether they are there: a full disk has no room for them."""
        writer = JournalWriter(self._folder.journal)
        written = writer.append(b"".join(entries.encode(record) + b"\n" for record in records), keep=True)
        writer.close()
        return written

    def tell(self, run: str | None, level: int, message: str, *, logger: str = LOGGER) -> None:
        """Write a line into a flow run's log; ``level`` as in ``logging``."""
        self.append(entries.Log(self.now(), level, logger, message, run))
