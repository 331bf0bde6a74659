"""How often the kernel's OOM killer has acted in a process's control group."""

from __future__ import annotations

import contextlib
from pathlib import Path


def oom_counter(pid: int | str = "self") -> Path | None:
    """Return the file that counts OOM kills of a process's cgroup (version 2, or 1); ``None`` when there is none."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii", errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            candidates = {
                "": Path(f"/sys/fs/cgroup{path}/memory.events"),
                "memory": Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control"),
            }
            for key, candidate in candidates.items():
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
