"""Read journals: whole lines only, however they were cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..model.entries import Entry, Open, decode

_BRACE = ord("{")


def split(data: bytes, offset: int = 0) -> Iterator[tuple[int, Entry | None]]:
    """Yield ``(byte offset, record)`` for each whole line of ``data``, which begins at ``offset``.

    A line that cannot be read yields ``None``; blank lines (also those that the spool's budget made) and an
    unfinished last line are passed over.
    """
    start = 0
    while (end := data.find(b"\n", start)) != -1:
        if end > start and (data[start] == _BRACE or data[start:end].strip(b" \0")):
            yield offset + start, decode(data[start:end])
        start = end + 1


def whole(data: bytes) -> bytes:
    """Return ``data`` up to its last line end: what may be shipped."""
    return data[: data.rfind(b"\n") + 1]


def read_whole(path: Path, offset: int, limit: int) -> bytes:
    """Return whole lines from byte ``offset``, about ``limit`` bytes at most but at least one line if there is one."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(limit)
        if len(data) == limit and b"\n" not in data:
            data += file.readline()
    return whole(data)


def read_header(path: Path) -> Open | None:
    """Return a journal's first record, or ``None`` when there is none that can be read."""
    try:
        with path.open("rb") as file:
            entry = decode(file.readline().rstrip(b"\n"))
    except OSError:
        return None
    return entry if isinstance(entry, Open) else None


def iterate(path: Path, offset: int = 0, chunk: int = 1 << 20) -> Iterator[tuple[int, Entry | None]]:
    """Yield ``(byte offset, record)`` of the whole file; a torn last line is yielded as ``None``."""
    size = path.stat().st_size
    while offset < size:
        data = read_whole(path, offset, chunk)
        if not data:
            yield offset, None
            return
        yield from split(data, offset)
        offset += len(data)
