"""The processes below a run: found by a mark in their environment, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from ..journal.spool import start_ticks
from ..model import marks


class Descendant(NamedTuple):
    """A process that a run started, directly or not."""

    pid: int
    started: int
    session: int
    command: str

    def is_alive(self) -> bool:
        """Whether it still runs, and is not another one with its pid."""
        return start_ticks(self.pid) == self.started and not _has_ended(self.pid)

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)


def descendants(journal: str, *, apart_from: int) -> list[Descendant]:
    """Return the living processes that carry a journal's mark, except the run process itself."""
    mark = f"{marks.JOURNAL}={journal}".encode()
    found: list[Descendant] = []
    for entry in _pids():
        if entry in (apart_from, os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                process = describe(entry)
                if process is not None:
                    found.append(process)
    return found


def describe(pid: int) -> Descendant | None:
    """Return a living process by its pid; ``None`` when there is none, or only its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        fields = stat[stat.rindex(b")") + 2 :].split()
        if fields[0] in (b"Z", b"X"):
            return None
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except (OSError, ValueError):  # it ended in this moment
        return None
    return Descendant(pid, int(fields[19]), int(fields[3]), _command(words))


def _command(words: list[bytes]) -> str:
    if words[1:3] == [b"-m", b"headrace.template"]:  # what a warm run forks keeps this command line
        return "a fork of the run's process"
    return b" ".join(words).decode("utf-8", "replace")[:300]


def _pids() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:  # macOS: other processes' environments are not to be read there, so none is found
        return []


def _has_ended(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] in (b"Z", b"X")


def end_all(processes: list[Descendant], *, grace_s: float) -> None:
    """End processes: SIGTERM, and SIGKILL for those that are there after ``grace_s`` seconds."""
    for process in processes:
        process.signal(signal.SIGTERM)
    until = time.monotonic() + grace_s
    while time.monotonic() < until and any(process.is_alive() for process in processes):
        time.sleep(0.02)
    for process in processes:
        process.signal(signal.SIGKILL)
