"""What may end a run's process from here: a cancel, a stop, its timeouts, its memory limit, not coming to an end."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

import msgspec

from ..client.port import Command
from ..journal.spool import Folder
from ..model import entries
from ..model.clock import iso
from ..model.orders import Job
from ..model.verdict import Asked, Excess
from . import tree
from .memory import MemoryLimit
from .notes import Notes
from .ship import Shipper
from .tail import OpenRuns
from .watch import Child, Watched

STACK_SECONDS = 0.5
"""How long a process that is to be killed may take to write its stacks after SIGABRT."""

_HEARD_S = 0.5
"""How long a process may take to hear a signal before it is sent once more."""

_MEMORY_S = 0.1
"""How often the memory of a run with a limit is looked at."""


class Reins:
    """Ends a process tree when there is a reason to, and remembers the reason for the verdict."""

    def __init__(
        self,
        folder: Folder,
        watched: Watched,
        shipper: Shipper,
        runs: OpenRuns,
        notes: Notes,
        job: Job | None,
        grace_s: float,
    ) -> None:
        self._folder = folder
        self._watched = watched
        self._shipper = shipper
        self._runs = runs
        self._notes = notes
        self._job = job
        self.grace_s = job.grace_seconds if job is not None and job.grace_seconds is not None else grace_s
        limit = job.memory_limit if job is not None else None
        self._memory = _memory(limit, watched) if limit is not None else None
        self._began = time.monotonic()
        self._deadline: float | None = None
        """When the process is killed if it has not done what it was told."""
        self._asked_run: str | None = None
        self._told_at: float | None = None
        """When the process was told to end, as long as it is not known to have heard."""
        self._over_since: float | None = None
        self.asked: Asked | None = None
        self.stopped = False
        """Whether its worker had it stopped."""
        self.timed_out: float | None = None
        self.job_timed_out: float | None = None
        self.excess: Excess | None = None
        self.killed = False
        self.lingered = False
        """Whether the run had ended and its process did not."""

    @property
    def memory_peak_bytes(self) -> int | None:
        """The most that the whole tree was seen to hold; ``None`` without a limit."""
        return self._memory.peak_bytes if self._memory is not None else None

    def patience(self) -> float:
        """Return how long nobody need look, in seconds."""
        busy = self._deadline is not None or self._runs.started or self._over_since is not None
        if busy or (self._job is not None and self._job.timeout is not None):
            return 0.1
        return _MEMORY_S if self._memory is not None else 1.0

    def cancel(self, command: Command) -> None:
        """Pass a cancel on: the process may clean up within its grace time."""
        self._shipper.catch_up()
        now = self._notes.now()
        self._notes.append(_asked(command, now))
        if command.flow_run_id not in self._runs.flows or self.asked is not None:
            return  # it has ended, or was asked before: taken note of, nothing more
        asked_at = iso(command.asked_us or now)
        self.asked = Asked(command.who, asked_at, killed=False)
        self._asked_run = command.flow_run_id
        self._deadline = time.monotonic() + self.grace_s
        self._write(self._folder.commands, command, asked_at)
        self._tell_to_end()

    def hand_on(self, command: Command) -> None:
        """Put a request where the run process will look for it; a run that has ended gets none."""
        self._shipper.catch_up()
        now = self._notes.now()
        self._notes.append(_asked(command, now))
        if command.flow_run_id in self._runs.flows:
            path = self._folder.request(command.action, command.flow_run_id)
            with contextlib.suppress(OSError):  # a full disk; the command comes again to the next supervisor
                self._write(path, command, iso(command.asked_us or now))

    def stop(self) -> None:
        """Have it end as a SIGTERM from outside does: the worker that started it is drained."""
        if not self.stopped:
            self.stopped = True
            with contextlib.suppress(OSError, ValueError):
                self.grace_s = float(self._folder.stop.read_text(encoding="ascii"))
            self._deadline = self._deadline or time.monotonic() + self.grace_s
            self._tell_to_end()

    def keep(self) -> None:
        """Look whether a limit is passed or a grace time over, and end the process tree if so."""
        self._keep_grace()
        self._keep_timeouts()
        self._keep_memory()
        self._keep_end()

    def kill(self) -> None:
        """Have the process write its stacks, then kill it and all that it started."""
        self.killed = True
        with contextlib.suppress(OSError, AttributeError, ValueError):
            resource.prlimit(self._watched.pid, resource.RLIMIT_CORE, (0, 0))
        if self._folder.stacks.exists():
            self._watched.signal(signal.SIGABRT)
            self._watched.wait(STACK_SECONDS)
        tree.kill_tree(self._watched.pid, journal=self._folder.id)
        self._watched.wait(5.0)

    def _write(self, path: Path, command: Command, at: str) -> None:
        order = {"action": command.action, "run": command.flow_run_id, "who": command.who, "at": at}
        if command.payload is not None:
            order["payload"] = command.payload
        part = path.with_name(path.name + ".part")
        part.write_bytes(msgspec.json.encode(order))
        part.replace(path)

    def _tell_to_end(self) -> None:
        self._folder.heard.unlink(missing_ok=True)
        self._told_at = time.monotonic()
        self._watched.signal(signal.SIGTERM)

    def _tell_again(self) -> None:
        """Send the signal once more to a process that has not heard the first.

        Python runs handlers between two instructions: a signal that comes just before a thread begins to wait in the
        kernel is heard when that wait is over, which may be hours later. A second one ends the wait.
        """
        if self._told_at is not None and time.monotonic() > self._told_at + _HEARD_S:
            self._told_at = None
            if not self._folder.heard.exists():
                self._watched.signal(signal.SIGTERM)

    def _keep_grace(self) -> None:
        if self._deadline is None:
            return
        self._tell_again()
        if self.asked is not None and not self.stopped and self._asked_run not in self._runs.flows:
            self._deadline = None  # the run has ended; its process may go on with other things
        elif time.monotonic() > self._deadline:
            if self.asked is not None:
                self.asked = self.asked._replace(killed=True)
            self.kill()

    def _keep_timeouts(self) -> None:
        run = self._runs.due(self._notes.now(), self.grace_s)
        if run is not None:
            self._shipper.catch_up()
            if run in self._runs.limits:
                self.timed_out = self._runs.limits[run]
                self.kill()
                return
        limit = self._job.timeout if self._job is not None else None
        if limit is not None and self._runs.flows and time.monotonic() > self._began + limit:
            self.job_timed_out = limit
            self.kill()

    def _keep_memory(self) -> None:
        excess = self._memory.over() if self._memory is not None else None
        if excess is not None:
            if excess.pid == self._watched.pid:  # its command line is ours, and tells nobody which run it is
                excess = excess._replace(command="the run's own process")
            self._shipper.catch_up()
            if self._runs.flows:
                self.excess = excess
            self.kill()

    def _keep_end(self) -> None:
        """End a process whose run is over and that a thread of it keeps alive; only a worker's: it has no other work."""
        if self._job is None or self._runs.flows or not self._runs.begun:
            return
        self._over_since = self._over_since or time.monotonic()
        if time.monotonic() > self._over_since + self.grace_s:
            self.lingered = True
            self.kill()


def _memory(limit: int, watched: Watched) -> MemoryLimit:
    """Return the limit on a run's processes; what lost its parent is below us if the run is our own child."""
    if isinstance(watched, Child):
        return MemoryLimit(limit, os.getpid(), counts_root=False)
    return MemoryLimit(limit, watched.pid)


def _asked(command: Command, now: int) -> entries.Asked:
    return entries.Asked(now, command.flow_run_id, command.action, command.who, command.asked_us)
