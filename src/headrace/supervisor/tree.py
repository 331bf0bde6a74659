"""The tree of processes below one: who is in it, how much memory they hold, and its end.

A supervisor is the child subreaper of what it starts: a process whose parent has gone becomes the supervisor's own
child, so below the supervisor nothing gets lost. Below a process that is not ours to reap (a plain script), those
are found by their mark only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

from .processes import Descendant, descendants, describe

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOK_S = 0.01


def below(root: int) -> list[int]:
    """Return the pids of all living descendants of a process, parents before children (about 20 µs each).

    Where the kernel lists no children (it was built without), all processes are gone through instead.
    """
    if not Path("/proc/thread-self/children").exists():
        return _below_by_parents(root)
    found: list[int] = []
    waiting = [root]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def below_self() -> list[int]:
    """Return the pids of all that this process started or that was left to it."""
    return below(os.getpid())


def _children(pid: int) -> list[int]:
    """Return the pids of a process's children, whichever of its threads started them."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # it ended in this moment
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # ten times a second: no Path for each thread
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    return found


def _below_by_parents(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):  # no /proc: none is found
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    stat = (entry / "stat").read_bytes()
                    parent = int(stat[stat.rindex(b")") + 2 :].split()[1])
                    children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        direct = children.get(waiting.pop(), [])
        found += direct
        waiting += direct
    return found


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds, with what it shares with others; 0 when it is gone (10 µs)."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123  # ten times a second for each process
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def proportional_bytes(pid: int) -> int | None:
    """Return the memory that a process holds, of shared pages its part only; ``None`` when it cannot be read.

    A page that four processes share counts as a quarter for each. It takes the kernel about 1 ms for each 100 MB.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
        return int(text[text.index(b"\nPss:") + 5 :].split(maxsplit=1)[0]) * 1024
    except (OSError, IndexError, ValueError):
        return None


def kill_tree(
    root: int, *, journal: str | None = None, spare: Collection[int] = (), seconds: float = 5.0
) -> list[Descendant]:
    """Kill a process, all below it, and what carries the journal's mark; return those that were killed.

    They are stopped first, until nobody new is found: a process that starts others as fast as it can cannot start any
    while it is stopped, and none gets lost by its parent's death. After ``seconds`` those that were found are killed
    as they are. The calling process and ``spare`` live on; what is below them is ended all the same.
    """
    spared = {os.getpid(), *spare}
    until = time.monotonic() + seconds
    killed: list[Descendant] = []
    while (found := _freeze(root, journal, spared, until)) and time.monotonic() < until:
        for process in found:
            process.signal(signal.SIGKILL)
        killed += found
        while time.monotonic() < until and any(process.is_alive() for process in found):
            time.sleep(_LOOK_S)
    for process in found:  # time is up
        process.signal(signal.SIGKILL)
    return list(dict.fromkeys(killed + found))


def _freeze(root: int, journal: str | None, spared: set[int], until: float) -> list[Descendant]:
    """Stop the family of a process, but those that are spared; return it when nobody new comes any more."""
    stopped: dict[tuple[int, int], Descendant] = {}
    while True:
        found = [process for process in _family(root, journal) if process.pid not in spared]
        new = [process for process in found if (process.pid, process.started) not in stopped]
        for process in new:
            stopped[process.pid, process.started] = process
            process.signal(signal.SIGSTOP)
        if (not new and all(_stands_still(process.pid) for process in found)) or time.monotonic() > until:
            return list(stopped.values())
        time.sleep(_LOOK_S)


def _stands_still(pid: int) -> bool:
    """Say whether a process is stopped or gone, so that it starts no other."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] in (b"T", b"t", b"Z", b"X", b"D")


def _family(root: int, journal: str | None) -> list[Descendant]:
    by_birth = [found for pid in (root, *below(root)) if (found := describe(pid)) is not None]
    known = {process.pid for process in by_birth}
    marked = descendants(journal, apart_from=root) if journal is not None else []
    return by_birth + [process for process in marked if process.pid not in known]
