"""Hold a run to its memory limit: the sum over all of its processes, looked at often and cheaply."""

from __future__ import annotations

import time

from ..model.verdict import Excess
from . import tree
from .processes import describe

_SHARE = 20
"""An exact look may come again after this many times what it took: so it costs a twentieth of a core at most."""


class MemoryLimit:
    """The memory of a process and all below it, against a limit.

    Look about ten times a second. What each process holds is added up at first, shared pages once for each: that is
    cheap, and never too little. Only when that sum passes the limit is it counted exactly, each shared page once, so
    forked workers that share what their parent loaded are not taken for more than they are.

    With ``counts_root=False`` only what is below ``root_pid`` counts: give it the supervisor's own pid, and processes
    that have lost their parent count, too.
    """

    def __init__(self, limit_bytes: int, root_pid: int, *, counts_root: bool = True) -> None:
        self.limit_bytes = limit_bytes
        self.peak_bytes = 0
        """The greatest sum that was seen."""
        self._root = root_pid
        self._counts_root = counts_root
        self._next_exact = 0.0

    def over(self) -> Excess | None:
        """Look once; return what passed the limit, or ``None``."""
        pids = tree.below(self._root)
        if self._counts_root:
            pids.insert(0, self._root)
        held = {pid: tree.resident_bytes(pid) for pid in pids}
        total = sum(held.values())
        if total <= self.limit_bytes:
            self.peak_bytes = max(self.peak_bytes, total)
            return None
        now = time.monotonic()
        if now < self._next_exact:
            return None
        held = {pid: _exact(pid, upper) for pid, upper in held.items()}
        after = time.monotonic()
        self._next_exact = after + _SHARE * (after - now)
        total = sum(held.values())
        self.peak_bytes = max(self.peak_bytes, total)
        return self._excess(held, total) if total > self.limit_bytes else None

    def _excess(self, held: dict[int, int], total: int) -> Excess:
        largest = max(held, key=lambda pid: held[pid])
        process = describe(largest)
        command = process.command if process is not None else ""
        return Excess(self.limit_bytes, total, largest, command, held[largest])


def _exact(pid: int, upper: int) -> int:
    found = tree.proportional_bytes(pid)
    return upper if found is None else found
