"""The sample: where a process's threads stood when it last looked, in one small file beside its journal.

The file is a line of fixed length (when, in µs, and how many bytes follow) and the stacks, as places only: whoever reads
them adds the lines of code, so that the process that is watched pays nothing for it.
"""

from __future__ import annotations

import linecache
import re
from pathlib import Path

NAME = "sample"
"""The file's name in a journal's folder."""

LIMIT = 20_000
"""Bytes of stacks in a sample."""

_HEAD = "%020d %010d\n"
_PLACE = re.compile(r'  File "(.+)", line (\d+), in ')


def head(t: int, length: int) -> bytes:
    """Return the first line of a sample taken at ``t`` (µs since 1970) whose stacks are ``length`` bytes long."""
    return (_HEAD % (t, length)).encode()


def read_sample(path: Path, now: int) -> tuple[str, float] | None:
    """Return the last sample with its lines of code, and how many seconds before ``now`` (µs) it was taken.

    ``None`` when there is none that can be read.
    """
    try:
        first, body = path.read_bytes().split(b"\n", 1)
        t, length = map(int, first.split())
    except (OSError, ValueError):
        return None
    text = body[:length].decode("utf-8", "replace")
    lines: list[str] = []
    for line in text.splitlines():
        lines.append(line)
        place = _PLACE.match(line)
        code = linecache.getline(place[1], int(place[2])).strip() if place is not None else ""
        if code:
            lines.append(f"    {code}")
    return ("\n".join(lines)[: 2 * LIMIT], max(now - t, 0) / 1e6) if lines else None
