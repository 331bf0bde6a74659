"""Keep a journal that cannot be shipped within its budget: oldest debug logs go first, then logs, never states.

A position in a journal is a byte offset, so nothing may move. The room of a dropped line is given back to the
file system where it lies (a hole), and reads as blanks up to its line end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Callable, Iterator

from ..journal.reader import read_whole
from ..journal.spool import Folder

_CHUNK = 1 << 20
_HOLE = 64 * 1024
"""Bytes of dropped lines that become one blank line; readers take whole lines, so they must stay short."""

_BLOCK = 4096
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02
_DEBUG = re.compile(rb'^\{"k":"log","t":\d+,"level":(?:[0-9]|1[0-9]),[^\n]*\n', re.MULTILINE)
_ANY = re.compile(rb'^\{"k":"log",[^\n]*\n', re.MULTILINE)


class Budget:
    """The room that one journal may take on disk before it is shipped."""

    def __init__(self, folder: Folder, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._next = limit

    def keep(self, shipped: int, catch_up: Callable[[], int]) -> int:
        """Drop logs if what is not shipped takes too much room; return how many lines were dropped.

        Cheap while there is room: one look at the file's size on disk.
        """
        if self._on_disk() - shipped <= self._next:
            return 0
        end = catch_up()
        dropped = 0
        for pattern in (_DEBUG, _ANY):
            if self._on_disk() - shipped <= self._limit * 3 // 4:
                break
            dropped += self._drop(pattern, shipped, end, self._limit * 3 // 4)
        # States alone may be larger than the budget: look again when they have grown by a tenth of it.
        self._next = max(self._limit, self._on_disk() - shipped + self._limit // 10)
        return dropped

    def _on_disk(self) -> int:
        return self._folder.journal.stat().st_blocks * 512

    def _drop(self, pattern: re.Pattern[bytes], start: int, end: int, target: int) -> int:
        """Make holes of matching lines, oldest first, until the journal takes ``target`` bytes."""
        fd = os.open(self._folder.journal, os.O_RDWR | os.O_CLOEXEC)
        dropped = 0
        try:
            for offset, length, lines in self._stretches(pattern, start, end):
                if self._on_disk() - start <= target:
                    break
                _blank(fd, offset, length)
                dropped += lines
        finally:
            os.close(fd)
        return dropped

    def _stretches(self, pattern: re.Pattern[bytes], start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield ``(offset, length, lines)`` of neighbouring lines that match, worth a hole."""
        while start < end:
            data = read_whole(self._folder.journal, start, min(_CHUNK, end - start))
            if not data:
                return
            at, length, lines = 0, 0, 0
            for match in pattern.finditer(data):
                if match.start() != at + length or length >= _HOLE:
                    if length >= 3 * _BLOCK:
                        yield start + at, length, lines
                    at, length, lines = match.start(), 0, 0
                length += match.end() - match.start()
                lines += 1
            if length >= 3 * _BLOCK:
                yield start + at, length, lines
            start += len(data)


def _blank(fd: int, offset: int, length: int) -> None:
    """Make a stretch of whole lines one blank line, and give its blocks back."""
    last = offset + length - 1  # the last line's end stays
    first_block = -(-offset // _BLOCK) * _BLOCK
    end_block = last // _BLOCK * _BLOCK
    os.pwrite(fd, b" " * (first_block - offset), offset)
    os.pwrite(fd, b" " * (last - end_block), end_block)
    if not _punch(fd, first_block, end_block - first_block):
        os.pwrite(fd, b" " * (end_block - first_block), first_block)


def _punch(fd: int, offset: int, length: int) -> bool:
    """Give blocks back to the file system; return ``False`` where it cannot (they are then only blanked)."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        call = libc.fallocate64 if hasattr(libc, "fallocate64") else libc.fallocate
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        return bool(call(fd, _KEEP_SIZE_PUNCH_HOLE, offset, length) == 0)
    return False
