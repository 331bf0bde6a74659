"""Append records to a journal so that they survive the death of the process at once.

A record is one ``write()`` on an ``O_APPEND`` descriptor. User code may close that descriptor and open a
file of its own under the same number, so each write first asks the kernel whether the descriptor is still
the journal; not one byte of ours may land in another file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

_OUT_OF_THE_WAY = 500
"""Descriptors from here up are rarely reached by ``closerange`` or by a program's own files."""

_RESERVE_BYTES = 64 * 1024
"""Disk space kept back for the last states of a run on a full disk; some hundred records."""

_KEPT_RECORDS = 1000
"""States kept in memory while nothing can be written."""


class JournalWriter:
    """Append whole lines to one journal file from any thread of one process.

    A record that cannot be written is counted (``lost_records``), never raised: a run does not fail because
    its journal does. States (``keep=True``) that cannot be written are kept and written when there is room.
    """

    def __init__(self, path: Path, *, reserve: Path | None = None) -> None:
        self.path = path
        self.lost_records = 0
        self.lost_reason = ""
        self.on_replaced: Callable[[], None] | None = None
        """Called after the descriptor had to be opened anew: others may have lost theirs too."""
        self._lock = threading.RLock()  # re-entrant: a signal handler may log while a record is written
        self._kept: list[bytes] = []
        self._torn = False
        self._reserve = reserve
        if reserve is not None:
            _make_reserve(reserve)
        self._fd = -1
        self._identity = (0, 0)
        self._open(create=True)

    def append(self, data: bytes, *, keep: bool = False) -> bool:
        """Write one or more whole lines; return whether they are in the file now."""
        with self._lock:
            if self._kept:
                self._write_kept()
            if not self._kept and self._write(data, keep=keep):
                return True
            if keep and len(self._kept) < _KEPT_RECORDS:
                self._kept.append(data)
            else:
                self.lost_records += data.count(b"\n")
            return False

    def take_lost(self) -> int:
        """Return how many records were lost since the last call, and count from 0 again."""
        with self._lock:
            lost, self.lost_records = self.lost_records, 0
            return lost

    def close(self) -> None:
        """Write what was kept, if there is room, and close the descriptor if it is still ours."""
        with self._lock:
            self._write_kept()
            if self._is_ours():
                os.close(self._fd)
            self._fd = -1
            if self._reserve is not None:
                self._reserve.unlink(missing_ok=True)

    def _write_kept(self) -> None:
        while self._kept and self._write(self._kept[0], keep=True):
            self._kept.pop(0)

    def _write(self, data: bytes, *, keep: bool) -> bool:
        try:
            if not self._is_ours():
                self._open(create=False)
            if self._torn:
                data = b"\n" + data
            written = os.write(self._fd, data)
            if written == len(data):
                self._torn = False
                return True
            # A short write is what a disk shows as it fills up: the line is torn, the next one starts afresh.
            self._torn = True
            self.lost_reason = "the disk is full"
        except OSError as error:
            self.lost_reason = error.strerror or str(error)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                return False
        return keep and self._spend_reserve() and self._write(data.lstrip(b"\n"), keep=keep)

    def _spend_reserve(self) -> bool:
        """Give the kept-back disk space free; return whether there was any."""
        if self._reserve is None:
            return False
        reserve, self._reserve = self._reserve, None
        with contextlib.suppress(OSError):
            reserve.unlink()
            return True
        return False

    def _is_ours(self) -> bool:
        try:
            found = os.fstat(self._fd)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def _open(self, *, create: bool) -> None:
        replaced = self._fd != -1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._fd = _move_up(os.open(self.path, flags, 0o600))
        found = os.fstat(self._fd)
        self._identity = (found.st_dev, found.st_ino)
        if replaced and self.on_replaced is not None:
            self.on_replaced()


def _move_up(fd: int) -> int:
    """Return a duplicate of ``fd`` with a high number; ``fd`` itself where the limit allows none."""
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
    except OSError:
        return fd
    os.close(fd)
    return high


def _make_reserve(path: Path) -> None:
    with contextlib.suppress(OSError, AttributeError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _RESERVE_BYTES)
        finally:
            os.close(fd)


def open_high(path: Path) -> int:
    """Open a file for appending under a high descriptor number and return that."""
    return _move_up(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
