"""What the kernel counts for a process's control group: memory, its limit, and how often the OOM killer has acted."""

from __future__ import annotations

import contextlib
from pathlib import Path

_NO_LIMIT = 1 << 60
"""Version 1 writes a number beyond any machine where there is no limit."""


def oom_counter(pid: int | str = "self") -> Path | None:
    """Return the file that counts OOM kills of a process's cgroup (version 2, or 1); ``None`` when there is none.

    Of version 2 it is the one that counts victims in this very group, where the kernel has it, not below it.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii", errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            candidates = [
                ("", Path(f"/sys/fs/cgroup{path}/memory.events.local")),
                ("", Path(f"/sys/fs/cgroup{path}/memory.events")),
                ("memory", Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control")),
            ]
            for key, candidate in candidates:
                if key in controllers.split(",") and candidate.exists():
                    return candidate
    return None


def oom_kills(counter: Path | None) -> int | None:
    """Return the count in a file that :func:`oom_counter` found; ``None`` when it cannot be read."""
    if counter is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        for line in counter.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def peak_bytes(counter: Path | None) -> int | None:
    """Return the most memory that the group of a counter has held since it was made; ``None``: not told."""
    return _number(counter, "memory.peak", "memory.max_usage_in_bytes")


def limit_bytes(counter: Path | None) -> int | None:
    """Return the memory that the group of a counter may hold; ``None``: no limit of its own, or not told."""
    found = _number(counter, "memory.max", "memory.limit_in_bytes")
    return found if found is not None and found < _NO_LIMIT else None


def _number(counter: Path | None, version_2: str, version_1: str) -> int | None:
    if counter is None:
        return None
    name = version_1 if counter.name == "memory.oom_control" else version_2
    try:
        return int(counter.with_name(name).read_text(encoding="ascii"))
    except (OSError, ValueError):  # an older kernel, or the word "max"
        return None
