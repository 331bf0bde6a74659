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
"""Disk space kept back for the states of a run on a full disk; some hundred records."""

_LAST_BYTES = 8 * 1024
"""The part of the reserve that only :meth:`JournalWriter.close` spends, on the newest states."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

_KEPT_RECORDS = 1000
"""States kept in memory while nothing can be written."""


class JournalWriter:
    """Append whole lines to one journal file from any thread of one process.

    A record that cannot be written is counted (``lost_records``), never raised: a run does not fail because
    its journal does. States (``keep=True``) that cannot be written are kept and written when there is room;
    the newest are kept longest, because they tell how runs ended.
    """

    def __init__(self, path: Path, *, reserve: Path | None = None) -> None:
        self.path = path.absolute()  # it may have to be opened anew, in whatever folder the user is by then
        self.lost_records = 0
        self.lost_reason = ""
        self.on_replaced: Callable[[], None] | None = None
        """Called after the descriptor had to be opened anew: others may have lost theirs too."""
        self._lock = threading.RLock()  # re-entrant: a signal handler may log while a record is written
        self._kept: list[bytes] = []
        self._reserve = _Reserve(reserve.absolute()) if reserve is not None else None
        self._fd = -1
        self._identity = (0, 0)
        self._end = 0
        self._torn = False
        self._open(create=True)

    def append(self, data: bytes, *, keep: bool = False) -> bool:
        """Write one or more whole lines; return whether they are in the file now."""
        with self._lock:
            if self._kept:
                self._write_kept()
            if not self._kept and self._write(data, keep=keep):
                return True
            if keep:
                self._keep(data)
            else:
                self.lost_records += data.count(b"\n")
            return False

    def take_lost(self) -> int:
        """Return how many records were lost since the last call, and count from 0 again."""
        with self._lock:
            lost, self.lost_records = self.lost_records, 0
            return lost

    def close(self, tell: Callable[[int, str], bytes] | None = None) -> None:
        """Write what was kept, with the last of the reserve if need be, and close the descriptor if it is ours.

        ``tell(count, reason)`` makes the line that says how many records were lost, if any were. A later
        ``append`` opens the journal again.
        """
        with self._lock:
            self._write_kept()
            if self._kept:
                self._squeeze(_LAST_BYTES - 512)  # room for what `tell` says
            if self.lost_records and tell is not None:
                self._kept.append(tell(self.take_lost(), self.lost_reason))
            if self._reserve is not None:
                self._reserve.give_up()
                self._reserve = None
            self._write_kept()
            if self._size_if_ours() is not None:
                os.close(self._fd)
            self._fd = -1

    def _keep(self, data: bytes) -> None:
        if len(self._kept) >= _KEPT_RECORDS:
            self.lost_records += self._kept.pop(0).count(b"\n")
        self._kept.append(data)

    def _squeeze(self, room: int) -> None:
        """Drop the oldest kept records until the others fit into ``room`` bytes."""
        while self._kept and sum(map(len, self._kept)) > room:
            self.lost_records += self._kept.pop(0).count(b"\n")

    def _write_kept(self) -> None:
        while self._kept:
            data = self._kept.pop(0)  # first out, then written: a signal handler may come here in between
            if not self._write(data, keep=True):
                self._kept.insert(0, data)
                return

    def _write(self, data: bytes, *, keep: bool) -> bool:
        if not keep and self._reserve is not None and self._reserve.holds_back():
            self.lost_reason = "the disk is full"
            return False  # the room that is left is for states
        try:
            self._ready()
            whole = b"\n" + data if self._torn else data
            written = os.write(self._fd, whole)
            self._end += written
            self._torn = written < len(whole)
            if not self._torn:
                return True
            # A short write is what a disk shows as it fills up: the line is torn, the next one starts afresh.
            self.lost_reason = "the disk is full"
        except OSError as error:
            self.lost_reason = error.strerror or str(error)
            if not is_full(error):
                return False
        return keep and self._reserve is not None and self._reserve.spend() and self._write(data, keep=keep)

    def _ready(self) -> None:
        """Make sure that the descriptor is the journal's, and see whether its last line is whole."""
        size = self._size_if_ours()
        if size is None:
            size = self._open(create=False)
        if size != self._end:
            # Somebody else wrote: a process of a pool, or the run before its supervisor; it may have been
            # killed within a line, and what we append to that would be lost with it.
            self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
            self._end = size

    def _size_if_ours(self) -> int | None:
        try:
            found = os.fstat(self._fd)
        except OSError:
            return None
        return found.st_size if (found.st_dev, found.st_ino) == self._identity else None

    def _open(self, *, create: bool) -> int:
        replaced = self._fd != -1
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._fd = _move_up(os.open(self.path, flags, 0o600))
        found = os.fstat(self._fd)
        self._identity = (found.st_dev, found.st_ino)
        if replaced and self.on_replaced is not None:
            self.on_replaced()
        return found.st_size


class _Reserve:
    """Disk space kept back in a file, given free in two parts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = 0
        self._fill()

    def holds_back(self) -> bool:
        """Say whether the disk is so full that what room there is must be left to states."""
        return self._left != _RESERVE_BYTES and not self._fill()

    def spend(self) -> bool:
        """Give all but the last part free; return whether there was more than that."""
        if self._left <= _LAST_BYTES:
            return False
        self._left = _LAST_BYTES
        with contextlib.suppress(OSError):
            os.truncate(self._path, _LAST_BYTES)
            return True
        return False

    def give_up(self) -> None:
        """Give everything free; what is written from now on is not held back."""
        self._left = 0
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _fill(self) -> bool:
        """Keep all of it back; return ``False`` when the disk has no room for it."""
        try:
            fill_reserve(self._path)
        except OSError as error:
            # A missing folder or a limit on descriptors is no reason to hold logs back.
            return not is_full(error)
        self._left = _RESERVE_BYTES
        return True


def is_full(error: OSError) -> bool:
    """Say whether an error means that the disk, or what we may use of it, is full."""
    return error.errno in _FULL


def fill_reserve(path: Path) -> None:
    """Take all the disk space that is kept back for the states of a run.

    Raises:
        OSError: the disk has no room for it.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _allocate(fd, _RESERVE_BYTES)
    finally:
        os.close(fd)


def _allocate(fd: int, size: int) -> None:
    try:
        os.posix_fallocate(fd, 0, size)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        if os.pwrite(fd, bytes(size), 0) < size:  # macOS, and file systems without it: zeros take room too
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None


def _move_up(fd: int) -> int:
    """Return a duplicate of ``fd`` with a high number; ``fd`` itself where the limit allows none."""
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
    except OSError:
        return fd
    os.close(fd)
    return high


def open_high(path: Path, *, append: bool = True) -> int:
    """Open a file for writing, at its end or anywhere, under a high descriptor number and return that."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if append else 0)
    return _move_up(os.open(path, flags, 0o600))
