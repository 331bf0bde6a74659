"""Keep a journal that cannot be shipped within its budget: oldest debug logs go first, then logs, never states.

A position in a journal is a byte offset, and the process goes on appending, so the file keeps its length. Within
a stretch of whole lines, what is kept moves to the stretch's beginning, and the rest becomes one blank line, a
hole whose room goes back to the file system. A stretch never reaches over a byte at which the server's copy may
end: of what moves, it holds all or nothing.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ..journal.reader import read_whole
from ..journal.spool import Folder
from .holes import BLOCK, punch
from .ship import Shipper

_STRETCH = (64 * 1024, 1 << 20)
"""The least and the most bytes of a stretch; between them, it is a part of the budget."""

_PARTS = 16
_DEBUG = re.compile(rb'^\{"k":"log","t":\d+,"level":(?:[0-9]|1[0-9]),[^\n]*\n', re.MULTILINE)
_ANY = re.compile(rb'^\{"k":"log",[^\n]*\n', re.MULTILINE)
_BLANK = re.compile(rb"^[ \0]*\n", re.MULTILINE)


class _Packed(NamedTuple):
    """What a stretch of a journal is to be."""

    offset: int
    length: int
    kept: bytes
    dropped: int
    """Lines that go."""


class Budget:
    """The room that one journal may take on disk before it is shipped."""

    def __init__(self, folder: Folder, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._next = limit
        self._stretch = min(max(limit // _PARTS, _STRETCH[0]), _STRETCH[1])
        self._note = folder.path / "packing"
        self._finish()

    def keep(self, shipper: Shipper) -> int:
        """Drop logs if what is not shipped takes too much room; return how many lines were dropped.

        Cheap while there is room: one look at the file's size on disk.
        """
        if self._on_disk() - (shipper.offset or 0) <= self._next:
            return 0
        shipper.catch_up()
        dropped = 0
        with shipper.standing_still() as still:
            if still is None:
                return 0  # a server that took some of it has not yet said how much
            for pattern in (_DEBUG, _ANY):
                dropped += self._drop(pattern, still.start, [*still.ends, still.end])
            # States alone may be larger than the budget: look again when they have grown by a tenth of it.
            self._next = max(self._limit, self._on_disk() - still.start + self._limit // 10)
        return dropped

    def _on_disk(self) -> int:
        return self._folder.journal.stat().st_blocks * 512

    def _drop(self, pattern: re.Pattern[bytes], start: int, ends: list[int]) -> int:
        """Pack stretches, oldest first, until the journal takes three quarters of its budget."""
        dropped, at = 0, start
        for end in ends:
            while at < end and self._on_disk() - start > self._limit * 3 // 4:
                data = read_whole(self._folder.journal, at, min(self._stretch, end - at))
                if not data:
                    break
                dropped += self._pack(pattern, at, data)
                at += len(data)
            at = max(at, end)
        return dropped

    def _pack(self, pattern: re.Pattern[bytes], offset: int, data: bytes) -> int:
        kept, dropped = pattern.subn(b"", data)
        if not dropped:
            return 0
        kept = _BLANK.sub(b"", kept)
        if len(data) - len(kept) < 2 * BLOCK:
            return 0  # no whole block would be won
        packed = _Packed(offset, len(data), kept, dropped)
        self._write_note(packed)
        self._apply(packed)
        return dropped

    # A process may be killed while it moves lines: what is to be is written beside the journal first, so that the
    # next supervisor can finish it.

    def _write_note(self, packed: _Packed) -> None:
        part = self._note.with_suffix(".part")
        with part.open("wb") as file:
            file.write(b"%d %d\n%s" % (packed.offset, packed.length, packed.kept))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._note)

    def _finish(self) -> None:
        """Finish what a supervisor that died was about to do."""
        try:
            head, kept = self._note.read_bytes().split(b"\n", 1)
        except FileNotFoundError:
            return
        offset, length = map(int, head.split())
        self._apply(_Packed(offset, length, kept, 0))

    def _apply(self, packed: _Packed) -> None:
        fd = os.open(self._folder.journal, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.pwrite(fd, packed.kept, packed.offset)
            _blank(fd, packed.offset + len(packed.kept), packed.length - len(packed.kept))
            os.fsync(fd)
        finally:
            os.close(fd)
        self._note.unlink(missing_ok=True)


def _blank(fd: int, offset: int, length: int) -> None:
    """Make a stretch one blank line, and give its blocks back."""
    last = offset + length - 1
    first_block = -(-offset // BLOCK) * BLOCK
    end_block = max(last // BLOCK * BLOCK, first_block)
    os.pwrite(fd, b" " * (first_block - offset), offset)
    os.pwrite(fd, b" " * (last - end_block) + b"\n", end_block)
    if end_block > first_block and not punch(fd, first_block, end_block - first_block):
        os.pwrite(fd, b" " * (end_block - first_block), first_block)
