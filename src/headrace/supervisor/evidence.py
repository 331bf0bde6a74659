"""What can be known around a process's end: memory, processor time, the OOM killer, stacks."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from ..journal import cgroup

_STACKS_LIMIT = 20_000
_TICKS = os.sysconf("SC_CLK_TCK")
_EXITING = 0x4
"""Of the flags in ``/proc/PID/stat``: the kernel takes the process apart (``PF_EXITING``)."""


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
        self._oom_before = self._oom_seen = self._oom_begin
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
            # It lives: whoever the OOM killer took before the look before this one was another. One that was taken since
            # may be this one, which goes on for a while: the kernel counts first, and takes its memory away last.
            if oom_kills == self._oom_seen and not (fields[0] in (b"Z", b"X") or int(fields[6]) & _EXITING):
                self._oom_before = oom_kills
        self._oom_seen = oom_kills

    def oom_killed(self) -> bool | None:
        """Say whether the OOM killer acted in the process's cgroup about when it died; ``None``: not to be seen."""
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


def read_stacks(path: Path) -> str | None:
    """Return what faulthandler wrote, cut to a size for people; ``None`` when it wrote nothing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return _current_first(_OURS.sub("", text))[:_STACKS_LIMIT] or None


_OURS = re.compile(
    r'^  File "[^"]*/headrace/(?:engine|supervisor|sources)/[^"]*", line .*\n?'
    r'|^  File "[^"]*/headrace/(?:template|flow_process)\.py", line .*\n?',
    re.MULTILINE,
)
"""Calls of ours around the user's: nobody looks for them."""


def _current_first(text: str) -> str:
    """Put the thread that faulted before the others: it is what a person looks for."""
    head, *threads = text.split("\n\n")
    return "\n\n".join([head, *sorted(threads, key=lambda part: not part.startswith("Current thread"))])
