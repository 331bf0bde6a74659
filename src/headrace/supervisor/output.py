"""What a run prints: taken from the file that its process writes to, line by line, and the disk given back.

The run's standard output and error are a file (``O_APPEND``), never a pipe: a supervisor that dies breaks no ``print``,
and a child that outlives the run holds nothing up. How far it was taken stands in a small file beside it, written
after each line, so the next supervisor goes on there; one killed between two writes may tell one line twice.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..model.sizes import size_text
from .holes import BLOCK, punch

LINE_LIMIT = 10_000
"""Characters of a line; the rest of a longer one is left out."""

LIMIT_BYTES = 10_000_000
"""Bytes of output that are told of one run, if nobody says otherwise."""

_RECORD_BYTES = 100
"""What a line costs beyond its text: its record in the journal."""

_CHUNK = 256 * 1024
_KEPT = 64 * 1024
"""Bytes before the position that stay on disk: the last lines, for evidence and for the next supervisor."""

_PART_S = 1.0
"""How old a line without an end may get before it is told as it is: somebody may wait at a prompt."""

_BAR_S = 10.0
"""The same for a line that is drawn over and over, as progress bars are."""

_SLICE_S = 0.2
"""How long one look may take, so that whoever calls it has time for its other duties."""

_LAST_LINES = 20
_LAST_LINE_LIMIT = 500


class _Position(NamedTuple):
    """How far the output was taken."""

    offset: int = 0
    told: int = 0
    """Bytes that count against the limit."""
    left_out: int = 0
    """Bytes that were passed over since the limit was reached."""
    within: int = 0
    """1 while the rest of a line that was cut is being passed over."""


class Output:
    """The output of one run process.

    ``append`` gets each line, without its end; ``echo`` the same lines as bytes, with it. After ``limit_bytes`` no
    more is told, only consumed, and its amount is said at the end.
    """

    def __init__(
        self,
        path: Path,
        append: Callable[[str], None],
        limit_bytes: int = LIMIT_BYTES,
        echo: Callable[[bytes], None] | None = None,
    ) -> None:
        self._path = path
        self._append = append
        self._limit = limit_bytes
        self._echo = echo
        self._fd = -1
        self._note = -1
        self._at = _Position()
        self._punched = 0
        self._part_since: float | None = None
        self._part_told = False
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    def take(self, final: bool = False) -> int:
        """Hand over what is new; return how many lines.

        With ``final`` it goes to the end of the file, with a last line that has no end; else it stops after 0.2 s, and
        the next look goes on.
        """
        if self._fd == -1 and not self._open():
            return 0
        size = os.fstat(self._fd).st_size
        if size < self._at.offset:  # user code emptied its own standard output
            self._at, self._punched = self._at._replace(offset=0, within=0), 0
        until = time.monotonic() + _SLICE_S
        lines = 0
        while self._at.offset < size:
            self._pass_over(size)
            before = self._at.offset
            lines += self._take_chunk(at_end=final and size - before <= _CHUNK)
            if self._at.offset == before or (not final and time.monotonic() > until):
                break
        self._give_back()
        if final:
            self._tell_left_out()
        return lines

    def last_untold(self) -> list[str]:
        """Return the last lines, oldest first, each cut to 500 characters, if they came after the limit; else none."""
        if self._at.told < self._limit:
            return []
        return [
            line if len(line) <= _LAST_LINE_LIMIT else line[:_LAST_LINE_LIMIT] + "..." for line in self._last
        ]

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (self._fd, self._note):
            if fd != -1:
                os.close(fd)
        self._fd = self._note = -1

    # -- the files

    def _open(self) -> bool:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False  # the process has not been started yet
        note = self._path.with_name(self._path.name + ".at")
        self._note = os.open(note, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(ValueError, TypeError):  # nothing in it yet
            self._at = _Position(*map(int, os.pread(self._note, 200, 0).split()))
        kept = os.pread(self._fd, min(_KEPT, self._at.offset), max(self._at.offset - _KEPT, 0)).lstrip(b"\0")
        self._last.extend(_text(line)[0] for line in kept.split(b"\n")[:-1][-_LAST_LINES:])
        return True

    def _move(self, at: _Position) -> None:
        self._at = at
        # Fixed in length, so that each write covers the one before.
        os.pwrite(self._note, (" ".join(map(str, at))).ljust(100).encode(), 0)

    def _give_back(self) -> None:
        """Free the whole blocks that nobody needs any more, not for less than a few at a time."""
        end = (self._at.offset - _KEPT) // BLOCK * BLOCK
        if end - self._punched >= _KEPT:
            punch(self._fd, self._punched, end - self._punched)
            self._punched = end

    # -- lines

    def _pass_over(self, size: int) -> None:
        """Past the limit, jump to the last stretch of the file: nothing before it will be told."""
        skipped = size - _KEPT - self._at.offset
        if self._at.told >= self._limit and skipped > 0:
            self._move(
                self._at._replace(
                    offset=size - _KEPT, left_out=self._at.left_out + skipped, within=1
                )  # most likely within a line
            )

    def _take_chunk(self, *, at_end: bool) -> int:
        data = os.pread(self._fd, _CHUNK, self._at.offset)
        lines = 0
        start = 0
        while (end := data.find(b"\n", start)) != -1:
            lines += self._take_line(data[start:end], end + 1 - start)
            start = end + 1
        rest = data[start:]
        if not rest:
            return lines
        if len(rest) == _CHUNK:
            return lines + self._take_endless(rest)
        return lines + self._take_part(rest, at_end=at_end)

    def _take_line(self, line: bytes, length: int) -> int:
        """Take a line that has its end; ``length`` counts that, too."""
        part_told, self._part_told, self._part_since = self._part_told, False, None
        if self._at.within or (part_told and not line.strip(b"\r")):
            self._move(self._at._replace(offset=self._at.offset + length, within=0))
            return 0  # the rest of what was told before
        return self._tell(line, length)

    def _take_endless(self, data: bytes) -> int:
        """Take a stretch without any line end: its beginning is told, the rest passed over until one comes."""
        if self._at.within:
            self._move(self._at._replace(offset=self._at.offset + len(data)))
            return 0
        return self._tell(data, len(data), ended=False)

    def _take_part(self, rest: bytes, *, at_end: bool) -> int:
        """Take a last line that has no end yet, if it is old enough or nothing more will come."""
        if self._at.within:
            self._move(self._at._replace(offset=self._at.offset + len(rest)))
            return 0
        now = time.monotonic()
        since = self._part_since = self._part_since or now
        drawn = _last_drawing(rest)
        if not at_end and now - since < (_BAR_S if b"\r" in rest else _PART_S):
            if drawn > 0 and len(rest) > BLOCK:  # a bar: only its latest state will be told
                self._move(self._at._replace(offset=self._at.offset + drawn))
            return 0
        self._part_since, self._part_told = None, not at_end
        return self._tell(rest, len(rest))

    def _tell(self, line: bytes, length: int, *, ended: bool = True) -> int:
        text, cut = _text(line)
        if cut:
            amount = f"{len(line):,} bytes in all" if ended else f"more than {len(line):,} bytes"
            text = f"{text}... [cut: a line of {amount}]"
        at = self._at._replace(offset=self._at.offset + length, within=0 if ended else 1)
        if at.told >= self._limit:
            self._last.append(text)
            self._move(at._replace(left_out=at.left_out + length))
            return 0
        cost = len(text.encode("utf-8")) + _RECORD_BYTES
        self._hand_over(text)
        self._last.append(text)
        self._move(at._replace(told=at.told + cost))
        if self._at.told >= self._limit:
            self._append(
                f"[The run's output has passed its limit of {size_text(self._limit)}; what follows is left out.]"
            )
        return 1

    def _hand_over(self, text: str) -> None:
        self._append(text)
        if self._echo is not None:
            with contextlib.suppress(OSError):  # nobody reads there any more
                self._echo(text.encode("utf-8") + b"\n")

    def _tell_left_out(self) -> None:
        if self._at.left_out:
            self._append(
                f"[{size_text(self._at.left_out)} of the run's output were left out: it passed its limit of "
                f"{size_text(self._limit)}.]"
            )
            self._move(self._at._replace(left_out=0))


def _last_drawing(line: bytes) -> int:
    """Return where the latest state of a line begins that carriage returns drew over."""
    return line.rstrip(b"\r").rfind(b"\r") + 1


def _text(line: bytes) -> tuple[str, bool]:
    """Return a line as text, cut to its limit, and whether it was cut."""
    line = line[_last_drawing(line) :].rstrip(b"\r")
    text = line[: 4 * LINE_LIMIT].decode("utf-8", "replace")
    return text[:LINE_LIMIT], len(text) > LINE_LIMIT or len(line) > 4 * LINE_LIMIT
