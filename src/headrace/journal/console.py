"""Show lines where a worker shows its own, and never wait for whoever should read them."""

from __future__ import annotations

import contextlib
import os
import select

_PIECE = 4096
"""Bytes that a pipe takes at once or not at all."""


class Console:
    """A descriptor to write lines to: a terminal, a pipe, a socket, a file.

    A reader that does not read (a stopped ``less``, a terminal on hold) costs lines here, never time: they are in the
    run's log all the same.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self.dropped = 0
        """Pieces that nobody took."""

    def write(self, text: str) -> int:
        """Write what is taken at once; return the length of ``text``, as streams do."""
        self.write_bytes(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write what is taken at once, piece by piece."""
        for start in range(0, len(data), _PIECE):
            if not self._is_ready():
                self.dropped += 1
                return
            with contextlib.suppress(OSError):  # nobody reads there any more
                os.write(self._fd, data[start : start + _PIECE])

    def flush(self) -> None:
        """Do nothing: nothing is kept back."""

    def isatty(self) -> bool:
        """Say whether it is a terminal."""
        return os.isatty(self._fd)

    def _is_ready(self) -> bool:
        try:
            return any(event & select.POLLOUT for _, event in self._poll.poll(0))
        except OSError:
            return False
