"""A journal on a disk: what was appended survives its process; a power cut keeps only what was synced, and perhaps more.

On a full disk log lines find no room, one of them perhaps in the middle; for states there is a reserve.
"""

from __future__ import annotations

from random import Random

from headrace.model.entries import Entry, Log, encode


class Disk:
    """One journal's file."""

    def __init__(self, random: Random) -> None:
        self.data = bytearray()
        self.synced = 0
        self.is_full = False
        self.refused = 0
        """Records that found no room."""
        self._random = random

    def append(self, *records: Entry) -> int:
        """Append records in one write, on a line of their own; return where they end."""
        for record in records:
            line = encode(record)
            if self.is_full and isinstance(record, Log):
                self.refused += 1
                if self._random.random() < 0.1:  # the last room that there was
                    self._add(line[: self._random.randrange(len(line))])
            else:
                self._add(line + b"\n")
        return len(self.data)

    def _add(self, data: bytes) -> None:
        if self.data and not self.data.endswith(b"\n"):
            self.data += b"\n"  # the last one was torn
        self.data += data

    def sync(self) -> None:
        """Make what was appended outlast a power cut."""
        self.synced = len(self.data)

    def lose_power(self, random: Random) -> None:
        """Keep what was synced and any part of the rest: the last line may be torn."""
        del self.data[random.randint(self.synced, len(self.data)) :]
        self.sync()
