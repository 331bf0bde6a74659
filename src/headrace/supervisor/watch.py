"""Watch a process that is not our child: see at once that it ended, and how if the kernel tells."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import sys
import time
from pathlib import Path

from ..journal.spool import is_alive
from ..model.entries import Open
from ..model.verdict import Ending

_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
"""``_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)`` with the 64 bytes of its first version (linux/pidfd.h)."""

_PIDFD_INFO_EXIT = 1 << 3
"""Asks for the wait status of an ended process, whoever its parent was; Linux 6.15 and later."""


class Watched:
    """A process, by pidfd where there is one, else by looking every 50 ms.

    ``pidfd`` is a descriptor that the process itself made: with it even an end before our beginning is seen.
    """

    def __init__(self, header: Open, pidfd: int | None = None) -> None:
        self.pid = header.pid
        self._header = header
        self._fd = -1 if pidfd is None else pidfd
        self._status: int | None = None
        if pidfd is None:
            with contextlib.suppress(OSError, AttributeError):  # gone already, or macOS
                self._fd = os.pidfd_open(header.pid)
        self.ended = not is_alive(header)
        """Asked after the descriptor was opened, so it cannot be another process that got the same pid."""
        if self.ended and pidfd is not None:
            self._read_status()
        self.unseen = self.ended and pidfd is None
        """Whether it was gone before anybody watched it."""

    def wait(self, seconds: float, wake: int = -1) -> bool:
        """Wait until the process ends, ``wake`` becomes readable, or time is over; return whether it ended."""
        if self.ended:
            return True
        if self._fd == -1:
            return self._wait_by_looking(seconds, wake)
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if wake != -1:
            poll.register(wake, select.POLLIN)
        for fd, _ in poll.poll(seconds * 1000):
            if fd == self._fd:
                self._read_status()
                self.ended = True
        return self.ended

    def ending(self) -> Ending:
        """Say how the process ended; both fields ``None`` when the kernel does not tell."""
        if self._status is None:
            return Ending()
        if os.WIFSIGNALED(self._status):
            return Ending(signal=os.WTERMSIG(self._status))
        return Ending(code=os.WEXITSTATUS(self._status))

    def signal(self, number: int) -> bool:
        """Send a signal to exactly this process; return whether it was there to get it."""
        if self.ended:
            return False
        try:
            if self._fd != -1:
                import signal  # the module's name is this method's

                signal.pidfd_send_signal(self._fd, number)
            elif is_alive(self._header):
                os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd != -1:
            os.close(self._fd)
            self._fd = -1

    def _wait_by_looking(self, seconds: float, wake: int) -> bool:
        until = time.monotonic() + seconds
        while not self.ended and time.monotonic() < until:
            if wake != -1 and select.select([wake], [], [], 0.05)[0]:
                break
            if wake == -1:
                time.sleep(0.05)
            self.ended = not is_alive(self._header)
        return self.ended

    def _read_status(self) -> None:
        self._status = self._status_by_pidfd()
        if self._status is None:
            self._status = _status_of_zombie(self.pid)

    def _status_by_pidfd(self) -> int | None:
        info = bytearray(struct.pack("<Q", _PIDFD_INFO_EXIT)) + bytes(56)
        with contextlib.suppress(OSError):
            # The status is there a moment after the descriptor tells of the end: once the parent has reaped it,
            # or the process has left no zombie.
            for _ in range(20):
                fcntl.ioctl(self._fd, _PIDFD_GET_INFO, info)
                (mask,) = struct.unpack_from("<Q", info, 0)
                if mask & _PIDFD_INFO_EXIT:
                    (status,) = struct.unpack_from("<i", info, 60)
                    return int(status)
                found = _status_of_zombie(self.pid)
                if found is not None:
                    return found
                struct.pack_into("<Q", info, 0, _PIDFD_INFO_EXIT)
                time.sleep(0.005)
        return None


class Child(Watched):
    """A process that is our own child: its exit status is ours to wait for, however early it ended."""

    def __init__(self, header: Open, pidfd: int | None = None) -> None:
        super().__init__(header, pidfd)
        self.unseen = False
        if self.ended and self._status is None:
            self._read_status()

    def ending(self) -> Ending:
        """Say how the process ended."""
        if self.ended and self._status is None:  # seen by looking, where there are no pidfds
            self._read_status()
        return super().ending()

    def _read_status(self) -> None:
        with contextlib.suppress(ChildProcessError):
            _, self._status = os.waitpid(self.pid, 0)


def reap_others(spare: int) -> None:
    """Wait for children that have ended, but for one: orphans of a run are ours, and would be zombies for ever."""
    with contextlib.suppress(ChildProcessError):
        while True:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None or found.si_pid == spare:
                return
            os.waitpid(found.si_pid, os.WNOHANG)


def _status_of_zombie(pid: int) -> int | None:
    """Return the wait status of a process that has ended and has not been reaped, if we may see it."""
    if sys.platform != "linux":
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] not in (b"Z", b"X"):
        return None
    status = int(fields[49])  # field 52; 0 is also what the kernel shows those who may not trace the process
    return status if status or _may_trace(pid) else None


def _may_trace(pid: int) -> bool:
    """Say whether the kernel tells us all about a process; asked by a link that it guards in the same way."""
    try:
        Path(f"/proc/{pid}/ns/user").readlink()
    except OSError:
        return False
    return True
