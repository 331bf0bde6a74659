"""What can be known around a process's end: memory, processor time, the OOM killer, stacks."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path
from typing import Any

from ..journal import cgroup, sample
from ..journal.sample import read_sample
from ..journal.spool import Folder
from ..model.verdict import Excess

_STACKS_LIMIT = 20_000
_TICKS = os.sysconf("SC_CLK_TCK")


class Vitals:
    """The last known memory and processor time of a living process; sampled, for death takes them away.

    ``oom_kills`` is how often the OOM killer had acted in its cgroup when it began, if it wrote that down.
    """

    def __init__(self, pid: int, oom_kills: int | None = None) -> None:
        self._pid = pid
        self.peak_memory_bytes: int | None = None
        self.cpu_seconds: float | None = None
        # A process that is gone has no cgroup any more; its companion was started by it, in the same one.
        self._oom = cgroup.oom_counter(pid) or (cgroup.oom_counter() if oom_kills is not None else None)
        self._oom_begin = oom_kills if oom_kills is not None else cgroup.oom_kills(self._oom)
        self._oom_before = self._oom_begin
        self._peak_begin = cgroup.peak_bytes(self._oom)

    def sample(self) -> None:
        """Look once more (about 70 µs)."""
        oom_kills = cgroup.oom_kills(self._oom)
        with contextlib.suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{self._pid}/status").read_bytes()
            at = status.find(b"VmHWM:")
            if at != -1:
                self.peak_memory_bytes = int(status[at + 6 :].split(maxsplit=1)[0]) * 1024
            stat = Path(f"/proc/{self._pid}/stat").read_bytes()
            fields = stat[stat.rindex(b")") + 2 :].split()
            self.cpu_seconds = (int(fields[11]) + int(fields[12])) / _TICKS
            if fields[0] not in (b"Z", b"X"):
                self._oom_before = (
                    oom_kills  # it lives: whoever the OOM killer took until now was another one
                )

    def finish(self, usage: resource.struct_rusage) -> None:
        """Take what the kernel told the parent when it reaped the process: exact, with the children it waited for.

        Its peak counts only if no look has seen one: it outlives ``exec``, so it may be that of who started the process.
        """
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        if self.peak_memory_bytes is None:
            self.peak_memory_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def oom_killed(self) -> bool | None:
        """Say whether the OOM killer acted in the process's cgroup since it was last seen alive; ``None``: not to be seen."""
        now = cgroup.oom_kills(self._oom)
        if now is None or self._oom_before is None:
            return None
        return now > self._oom_before

    def cgroup_counts(self) -> dict[str, int]:
        """Return what the control group tells now, by the names of the evidence; what it does not tell is left out."""
        kills, peak = cgroup.oom_kills(self._oom), cgroup.peak_bytes(self._oom)
        grown = peak is not None and self._peak_begin is not None and peak > self._peak_begin
        found = {
            "cgroup_oom_kills": kills - self._oom_begin if kills and self._oom_begin is not None else None,
            "cgroup_peak_bytes": peak if grown else None,  # else it is older than the run
            "cgroup_limit_bytes": cgroup.limit_bytes(self._oom),
        }
        return {name: value for name, value in found.items() if value}


def gather(folder: Folder, died: int, vitals: Vitals, memory: Excess | None = None) -> dict[str, Any]:
    """Return what its folder, its control group and the looks at it tell of a process that ended at ``died`` (µs).

    They are fields of :class:`~headrace.model.verdict.Evidence`. The sampled stack is told only where there is no
    exact one: it is the second best.
    """
    found: dict[str, Any] = {
        "peak_memory_bytes": vitals.peak_memory_bytes,
        "cpu_seconds": vitals.cpu_seconds,
        "stack": read_stacks(folder.stacks),
        **vitals.cgroup_counts(),
    }
    sampled = read_sample(folder.path / sample.NAME, died) if found["stack"] is None else None
    if sampled is not None:
        found["sampled_stack"], found["sample_age_seconds"] = sampled
    if memory is not None:
        found["memory_limit_bytes"] = memory.limit_bytes
        found["memory_bytes"] = memory.total_bytes
        found["memory_process"] = memory.process()
    return found


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
