"""What can be known around a process's end: memory, processor time, the OOM killer, stacks."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_STACKS_LIMIT = 20_000
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Vitals:
    """The last known memory and processor time of a living process; sampled, for death takes them away."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak_memory_bytes: int | None = None
        self.cpu_seconds: float | None = None
        self._oom = _oom_counter(pid)
        self._oom_before = _read_oom(self._oom)

    def sample(self) -> None:
        """Look once more (about 50 µs)."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{self._pid}/status").read_bytes()
            at = status.find(b"VmHWM:")
            if at != -1:
                self.peak_memory_bytes = int(status[at + 6 :].split(maxsplit=1)[0]) * 1024
            stat = Path(f"/proc/{self._pid}/stat").read_bytes()
            fields = stat[stat.rindex(b")") + 2 :].split()
            self.cpu_seconds = (int(fields[11]) + int(fields[12])) / _TICKS

    def oom_killed(self) -> bool | None:
        """Say whether the OOM killer acted in the process's cgroup since we watch; ``None``: not to be seen."""
        now = _read_oom(self._oom)
        if now is None or self._oom_before is None:
            return None
        return now > self._oom_before


def _oom_counter(pid: int) -> Path | None:
    """Return the file that counts OOM kills of a process's cgroup (version 2, or 1)."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            candidates = {
                "": Path(f"/sys/fs/cgroup{path}/memory.events"),
                "memory": Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control"),
            }
            for key, candidate in candidates.items():
                if key in controllers.split(",") and candidate.exists():
                    return candidate
    return None


def _read_oom(counter: Path | None) -> int | None:
    if counter is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        for line in counter.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def read_stacks(path: Path) -> str | None:
    """Return what faulthandler wrote, cut to a size for people; ``None`` when it wrote nothing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return _current_first(text)[:_STACKS_LIMIT] or None


def _current_first(text: str) -> str:
    """Put the thread that faulted before the others: it is what a person looks for."""
    head, *threads = text.split("\n\n")
    return "\n\n".join([head, *sorted(threads, key=lambda part: not part.startswith("Current thread"))])
