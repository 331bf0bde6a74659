"""A journal on a disk: what was appended survives its process; a power cut keeps only what was synced, and perhaps more."""

from __future__ import annotations

from random import Random

from headrace.model.entries import Entry, encode


class Disk:
    """One journal's file."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = 0

    def append(self, *records: Entry) -> int:
        """Append records in one write, on a line of their own; return where they end."""
        lines = b"".join(encode(record) + b"\n" for record in records)
        if self.data and not self.data.endswith(b"\n"):
            lines = b"\n" + lines  # the last one was torn
        self.data += lines
        return len(self.data)

    def sync(self) -> None:
        """Make what was appended outlast a power cut."""
        self.synced = len(self.data)

    def lose_power(self, random: Random) -> None:
        """Keep what was synced and any part of the rest: the last line may be torn."""
        del self.data[random.randint(self.synced, len(self.data)) :]
        self.sync()
