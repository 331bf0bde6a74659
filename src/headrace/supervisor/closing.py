"""The end of a journal: the verdict on what was open, what the process left behind, and the last record."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..journal.sample import read_sample
from ..journal.spool import Folder
from ..model import entries
from ..model.clock import iso
from ..model.verdict import Ending, Evidence, fault_in, judge, signal_name
from . import processes, tail, tree
from .evidence import Vitals, read_stacks
from .notes import Notes
from .reins import Reins
from .watch import Watched

_GIVEN_UP_GRACE_S = 2.0
_ROOM_S = 0.5
"""How often a supervisor looks whether a full disk has room again for what it must write."""

_LONG = {"stack", "sampled_stack", "last_output", "open_tasks"}
"""Evidence of the process that is too long to be repeated for each task run."""


class Closing:
    """Writes how a process ended, once it has."""

    def __init__(
        self,
        folder: Folder,
        header: entries.Open,
        watched: Watched,
        vitals: Vitals,
        reins: Reins,
        runs: tail.OpenRuns,
        notes: Notes,
        wake: Callable[[], None],
        *,
        is_parent: bool,
        patience_s: float,
        planned: str | None = None,
        untold: Sequence[str] = (),
    ) -> None:
        """``planned`` is the run for which a worker started the process, if one did.

        ``untold`` are the last lines that it printed, when they are past what the journal takes of its output.
        """
        self._folder = folder
        self._header = header
        self._watched = watched
        self._vitals = vitals
        self._reins = reins
        self._runs = runs
        self._notes = notes
        self._wake = wake
        self._is_parent = is_parent
        self._planned = planned
        self._untold = list(untold)
        self._patience_s = patience_s

    def close(self) -> None:
        """Write verdicts on open runs, end what was left behind, and close the journal."""
        ending = fault_in(read_stacks(self._folder.stacks), self._watched.ending())
        died = self._notes.now()
        self._folder.reserve.unlink(missing_ok=True)  # on a full disk this is the room for what follows
        open_runs = self._runs.ids()
        if self._planned is not None and not self._runs.begun:
            open_runs = [self._planned]  # a power cut took the record of its making; it is over all the same
        if open_runs:
            evidence = self._evidence(ending, died)
            self._put(*(self._verdict(run, ending, died, evidence) for run in open_runs))
        orphans = self._left_behind()
        if orphans:
            self._wake()  # the state waits for nobody
            self._end_orphans(orphans)
        self._tell_lingering()
        self._tell_missing()
        self._put(self._exit(ending, died))
        self._wake()

    def _put(self, *records: entries.Entry) -> None:
        """Write what must not be lost; while the disk is full, wait for room: only what is written reaches the server."""
        until = time.monotonic() + self._patience_s
        while not self._notes.append(*records):
            if time.monotonic() > until or not self._folder.journal.exists():
                return
            time.sleep(_ROOM_S)

    def _exit(self, ending: Ending, died: int) -> entries.Exit:
        vitals = {
            "peak_memory_bytes": self._vitals.peak_memory_bytes,
            "cpu_seconds": self._vitals.cpu_seconds,
        }
        told = {name: value for name, value in vitals.items() if value is not None}
        return entries.Exit(died, ending.code, ending.signal, told or None)

    def _evidence(self, ending: Ending, died: int) -> Evidence:
        reins = self._reins
        excess = reins.excess
        stacks = read_stacks(self._folder.stacks)
        # Of a journal that was taken up later nobody knows when the process died.
        unseen = stacks is not None or self._watched.unseen
        sample = None if unseen else read_sample(self._folder.path / "sample", died)
        last_seen = tail.last_fact(self._folder.journal)
        evidence = Evidence(
            exit_code=ending.code,
            signal=self._signal_of(ending),
            oom_killed=self._vitals.oom_killed() if ending.signal == signal.SIGKILL else None,
            peak_memory_bytes=max(self._vitals.peak_memory_bytes or 0, reins.memory_peak_bytes or 0) or None,
            cpu_seconds=self._vitals.cpu_seconds,
            memory_limit_bytes=excess.limit_bytes if excess else None,
            memory_bytes=excess.total_bytes if excess else None,
            memory_process=excess.process() if excess else None,
            stack=stacks,
            sampled_stack=sample[0] if sample is not None else None,
            sample_age_seconds=round(sample[1], 3) if sample is not None else None,
            last_output=self._untold or tail.last_output(self._folder.journal) or None,
            open_tasks=tail.names_of(self._folder.journal, list(self._runs.tasks)) or None,
            host=self._header.host,
            pid=self._header.pid,
            died=iso(died),
            last_sign_of_life=iso(last_seen) if last_seen is not None else None,
            killed_by="headrace" if reins.killed else None,
            timeout_seconds=reins.timed_out or reins.job_timed_out,
            timeout_of="flow" if reins.timed_out else "job" if reins.job_timed_out else None,
            asked_by=reins.asked.who if reins.asked else None,
            asked_at=reins.asked.at if reins.asked else None,
        )
        for name, count in self._vitals.cgroup_counts().items():
            setattr(evidence, name, count)
        return evidence

    def _signal_of(self, ending: Ending) -> str | None:
        if self._reins.killed and ending.signal == signal.SIGABRT:
            return "SIGKILL"  # SIGABRT was our way to have its stacks written first, no fault of its code
        return signal_name(ending.signal) if ending.signal is not None else None

    def _verdict(self, run: str, ending: Ending, died: int, evidence: Evidence) -> entries.Verdict:
        reins = self._reins
        if reins.stopped and reins.killed and reins.asked is None:
            ending = Ending(signal=signal.SIGTERM)  # what it did not obey is why it ended
        told = judge(
            ending,
            asked=reins.asked,
            timed_out=reins.timed_out,
            job_timed_out=reins.job_timed_out,
            memory=reins.excess,
            oom_killed=evidence.oom_killed,
            has_stack=evidence.stack is not None,
            recovered=self._watched.unseen,
        )
        evidence.certainty = told.certainty
        found: dict[str, Any] = msgspec.to_builtins(evidence)
        if run in self._runs.tasks:  # a thousand may be open: what is long is told once, of their flow run
            found = {name: value for name, value in found.items() if name not in _LONG}
        details: dict[str, Any] = {"evidence": found}
        return entries.Verdict(run, died, told.type, told.name, told.message, details)

    def _left_behind(self) -> list[processes.Descendant]:
        """Return the processes that outlived the run: those with its mark and, to a parent, all that were left to it."""
        found = processes.descendants(self._folder.id, apart_from=self._header.pid)
        if self._is_parent:
            known = {process.pid for process in found}
            born = [processes.describe(pid) for pid in tree.below_self() if pid not in known]
            found += [process for process in born if process is not None]
        return [process for process in found if process.is_alive()]

    def _end_orphans(self, orphans: list[processes.Descendant]) -> None:
        """End what the process left behind, after a grace time; what made a session of its own is let be."""
        root = tail.last_root(self._folder.journal)
        ours = [orphan for orphan in orphans if orphan.session != orphan.pid]
        apart = [orphan for orphan in orphans if orphan.session == orphan.pid]
        for orphan in apart:
            told = (
                f"The flow left process {orphan.pid} in a session of its own: {orphan.command}. It is let be."
            )
            self._notes.tell(root, 20, told)
        grace_s = self._reins.grace_s
        until = time.monotonic() + grace_s
        while time.monotonic() < until and any(orphan.is_alive() for orphan in ours):
            time.sleep(0.05)
        left = [orphan for orphan in ours if orphan.is_alive()]
        processes.end_all(left, grace_s=_GIVEN_UP_GRACE_S)
        for orphan in left:
            told = f"The flow left process {orphan.pid} behind: {orphan.command}. It was ended after {grace_s:g} s."
            self._notes.tell(root, 30, told)

    def _tell_lingering(self) -> None:
        if self._reins.lingered:
            told = (
                f"The flow had ended and its process went on for {self._reins.grace_s:g} s: a thread of it that is "
                "no daemon, or a call that does not return. It was ended; the run's state stands."
            )
            self._notes.tell(tail.last_root(self._folder.journal), 30, told)

    def _tell_missing(self) -> None:
        """Say in the run's log what it lacks: whoever reads it should not take it for whole."""
        missing = self._runs.missing
        if missing:
            reasons = ", ".join(dict.fromkeys(entry.reason for entry in missing))
            count = sum(entry.records for entry in missing)
            message = f"{count} records of this process, log lines mostly, are missing here: {reasons}."
            self._notes.tell(tail.last_root(self._folder.journal), 30, message)
