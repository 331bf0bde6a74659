"""Supervise one process from its first record until its journal is on the server."""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ..client.port import Command, JournalPort
from ..journal.reader import read_header
from ..journal.spool import Folder, Lock, Spool, boot_id
from ..journal.writer import JournalWriter
from ..model import entries
from ..model.clock import AnchoredClock, iso
from ..model.verdict import Asked, Ending, Evidence, fault_in, judge, signal_name
from ..settings import Settings
from . import processes, tail
from .budget import Budget
from .control import Listener
from .evidence import Vitals, read_stacks
from .ship import Shipper
from .watch import Watched

_SAMPLE_SECONDS = 1.0
_STACK_SECONDS = 0.5
"""How long a process that is to be killed may take to write its stacks after SIGABRT."""

_GIVEN_UP_GRACE_S = 2.0


class Supervisor:
    """Stands over one run process. ``run()`` returns when the journal is shipped or patience is over."""

    def __init__(
        self,
        folder: Folder,
        port: JournalPort,
        settings: Settings,
        log: Callable[[str], None],
        pidfd: int | None = None,
    ) -> None:
        header = read_header(folder.journal)
        if header is None:
            raise ValueError(f"{folder.journal} does not begin with a header that can be read.")
        self.header = header
        self._folder = folder
        self._port = port
        self._settings = settings
        self._log = log
        self._clock = AnchoredClock(header.anchor if header.boot == boot_id() else None)
        self._runs = tail.OpenRuns()
        self._shipper = Shipper(folder, port, self._runs, log)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        self._listener = Listener(folder.id, port, self._wake_write, log)
        self._watched = Watched(header, pidfd)
        self._vitals = Vitals(header.pid, header.oom_kills if header.boot == boot_id() else None)
        self._asked: Asked | None = None
        self._asked_at: float | None = None
        self._asked_run: str | None = None
        self._timed_out: float | None = None
        self._budget = Budget(folder, settings.spool_limit)

    def run(self) -> bool:
        """Supervise to the end; return whether the server holds the whole journal."""
        self._shipper.catch_up()
        self._shipper.is_first = not self._runs.adopted
        lives = not self._watched.ended
        if lives:
            self._append(entries.Adopted(self._clock.now_us(), os.getpid()))
        self._shipper.start()
        if lives:
            self._vitals.sample()  # a process may die before the first second is over
            self._listener.start()
            self._watch()
            self._keep_budget()
        self._listener.stop()
        if not self._folder.journal.exists():
            return False
        if not self._runs.exited:
            self._close_journal()
        return self._ship_rest()

    # -- while it lives

    def _watch(self) -> None:
        while not self._watched.wait(self._patience(), self._wake_read):
            self._vitals.sample()
            if not self._folder.journal.exists():
                return  # its home was removed under it, as a test's is: there is nothing to supervise
            self._take_commands()
            self._keep_grace()
            self._keep_timeouts()
            self._keep_budget()

    def _patience(self) -> float:
        """Return how long to sleep: until the next deadline, a second at most."""
        if self._asked_at is not None or self._runs.started:
            return 0.1
        return _SAMPLE_SECONDS

    def _take_commands(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while True:
            try:
                command = self._listener.commands.get_nowait()
            except queue.Empty:
                return
            if command.action == "cancel":
                self._cancel(command)
            elif command.action in ("suspend", "resume"):
                self._hand_on(command)

    def _cancel(self, command: Command) -> None:
        now = self._clock.now_us()
        self._shipper.catch_up()
        record = entries.Asked(now, command.flow_run_id, command.action, command.who, command.asked_us)
        self._append(record)
        if command.flow_run_id not in self._runs.flows or self._asked is not None:
            return  # it has ended, or was asked before: taken note of, nothing more
        asked_at = iso(command.asked_us or now)
        self._asked, self._asked_at = Asked(command.who, asked_at, killed=False), time.monotonic()
        self._asked_run = command.flow_run_id
        self._write_order(self._folder.commands, command, asked_at)
        self._watched.signal(signal.SIGTERM)

    def _hand_on(self, command: Command) -> None:
        """Put a request where the run process will look for it; a run that has ended gets none."""
        now = self._clock.now_us()
        self._shipper.catch_up()
        record = entries.Asked(now, command.flow_run_id, command.action, command.who, command.asked_us)
        self._append(record)
        if command.flow_run_id in self._runs.flows:
            path = self._folder.request(command.action, command.flow_run_id)
            with contextlib.suppress(OSError):  # a full disk; the command comes again to the next supervisor
                self._write_order(path, command, iso(command.asked_us or now))

    def _write_order(self, path: Path, command: Command, at: str) -> None:
        order = {"action": command.action, "run": command.flow_run_id, "who": command.who, "at": at}
        if command.payload is not None:
            order["payload"] = command.payload
        part = path.with_name(path.name + ".part")
        part.write_bytes(msgspec.json.encode(order))
        part.replace(path)

    def _keep_grace(self) -> None:
        """Kill the process tree when a cancel was asked and the grace time has passed."""
        if self._asked_at is None or self._asked is None:
            return
        waited = time.monotonic() - self._asked_at
        if self._asked_run not in self._runs.flows:
            self._asked_at = None  # the run has ended; its process may go on with other things
        elif waited > self._settings.grace_seconds:
            self._asked = self._asked._replace(killed=True)
            self._kill()

    def _keep_timeouts(self) -> None:
        """Kill a process whose flow run is past its timeout and did not stop by itself."""
        run = self._runs.due(self._clock.now_us(), self._settings.grace_seconds)
        if run is not None:
            self._shipper.catch_up()
            if run in self._runs.limits:
                self._timed_out = self._runs.limits[run]
                self._kill()

    def _kill(self) -> None:
        """Have the process write its stacks, then kill it and all that it started."""
        children = processes.descendants(self._folder.id, apart_from=self.header.pid)
        with contextlib.suppress(OSError, AttributeError, ValueError):
            resource.prlimit(self.header.pid, resource.RLIMIT_CORE, (0, 0))
        if self._folder.stacks.exists():
            self._watched.signal(signal.SIGABRT)
            self._watched.wait(_STACK_SECONDS)
        self._watched.signal(signal.SIGKILL)
        for child in children:
            child.signal(signal.SIGKILL)
        self._watched.wait(5.0)

    def _keep_budget(self) -> None:
        dropped = 0
        with contextlib.suppress(OSError):  # a full disk: the next look may find room to work in
            dropped = self._budget.keep(self._shipper)
        if dropped:
            self._append(
                entries.Missing(
                    self._clock.now_us(),
                    dropped,
                    "the journal passed spool_limit while the server was away",
                    logs=dropped,
                )
            )

    # -- when it has ended

    def _close_journal(self) -> None:
        self._shipper.catch_up()
        ending = fault_in(read_stacks(self._folder.stacks), self._watched.ending())
        died = self._clock.now_us()
        open_runs = self._runs.ids()
        if open_runs:
            evidence = self._evidence(ending, died)
            for run in open_runs:
                self._append(self._verdict(run, ending, died, evidence))
        orphans = processes.descendants(self._folder.id, apart_from=self.header.pid)
        if orphans:
            self._shipper.wake()  # the state waits for nobody
            self._end_orphans(orphans)
        self._tell_missing()
        self._append(self._exit(ending, died))
        self._shipper.wake()

    def _exit(self, ending: Ending, died: int) -> entries.Exit:
        vitals = {
            "peak_memory_bytes": self._vitals.peak_memory_bytes,
            "cpu_seconds": self._vitals.cpu_seconds,
        }
        told = {name: value for name, value in vitals.items() if value is not None}
        return entries.Exit(died, ending.code, ending.signal, told or None)

    def _evidence(self, ending: Ending, died: int) -> Evidence:
        by_us = self._timed_out is not None or (self._asked is not None and self._asked.killed)
        return Evidence(
            exit_code=ending.code,
            signal=signal_name(ending.signal) if ending.signal is not None else None,
            oom_killed=self._vitals.oom_killed() if ending.signal == signal.SIGKILL else None,
            peak_memory_bytes=self._vitals.peak_memory_bytes,
            cpu_seconds=self._vitals.cpu_seconds,
            stack=read_stacks(self._folder.stacks),
            last_output=tail.last_output(self._folder.journal) or None,
            open_tasks=tail.names_of(self._folder.journal, list(self._runs.tasks)) or None,
            host=self.header.host,
            pid=self.header.pid,
            died=iso(died),
            killed_by="headrace" if by_us else None,
            timeout_seconds=self._timed_out,
            asked_by=self._asked.who if self._asked else None,
            asked_at=self._asked.at if self._asked else None,
        )

    def _verdict(self, run: str, ending: Ending, died: int, evidence: Evidence) -> entries.Verdict:
        told = judge(
            ending,
            asked=self._asked,
            timed_out=self._timed_out,
            oom_killed=evidence.oom_killed,
            has_stack=evidence.stack is not None,
            recovered=self._watched.unseen,
        )
        evidence.certainty = told.certainty
        details: dict[str, Any] = {"evidence": msgspec.to_builtins(evidence)}
        return entries.Verdict(run, died, told.type, told.name, told.message, details)

    def _end_orphans(self, orphans: list[processes.Descendant]) -> None:
        """End what the process left behind, after a grace time; what made a session of its own is let be."""
        root = tail.last_root(self._folder.journal)
        ours = [orphan for orphan in orphans if orphan.session != orphan.pid]
        apart = [orphan for orphan in orphans if orphan.session == orphan.pid]
        for orphan in apart:
            self._tell(
                root,
                20,
                f"The flow left process {orphan.pid} in a session of its own: {orphan.command}. It is let be.",
            )
        until = time.monotonic() + self._settings.grace_seconds
        while time.monotonic() < until and any(orphan.is_alive() for orphan in ours):
            time.sleep(0.05)
        left = [orphan for orphan in ours if orphan.is_alive()]
        processes.end_all(left, grace_s=_GIVEN_UP_GRACE_S)
        for orphan in left:
            self._tell(
                root,
                30,
                f"The flow left process {orphan.pid} behind: {orphan.command}. It was ended after {self._settings.grace_seconds:g} s.",
            )

    def _tell_missing(self) -> None:
        """Say in the run's log what it lacks: whoever reads it should not take it for whole."""
        missing = self._runs.missing
        if missing:
            reasons = ", ".join(dict.fromkeys(entry.reason for entry in missing))
            count = sum(entry.records for entry in missing)
            message = f"{count} records of this process, log lines mostly, are missing here: {reasons}."
            self._tell(tail.last_root(self._folder.journal), 30, message)

    def _tell(self, run: str | None, level: int, message: str) -> None:
        self._append(entries.Log(self._clock.now_us(), level, "headrace.supervisor", message, run))

    def _ship_rest(self) -> bool:
        """Wait until the server holds everything, or patience is over."""
        until = time.monotonic() + self._settings.ship_patience
        self._shipper.catch_up()
        while not self._shipper.is_done() and time.monotonic() < until:
            if not self._folder.journal.exists():
                break  # somebody removed it: there is nothing left to ship
            if self._shipper.away_since is None:
                self._shipper.wake()
            time.sleep(0.02)
        done = self._shipper.is_done()
        self._shipper.stop()
        self._watched.close()
        return done

    def _append(self, record: entries.Entry) -> None:
        """Write a record of our own at the journal's end."""
        writer = JournalWriter(self._folder.journal)
        writer.append(entries.encode(record) + b"\n", keep=True)
        writer.close()


def supervise(
    folder: Folder,
    lock: Lock,
    port: JournalPort,
    settings: Settings,
    log: Callable[[str], None],
    *,
    pidfd: int | None = None,
) -> bool:
    """Supervise the journal whose lock is held; retire it when the server has it whole; return whether it has."""
    try:
        folder.adopt()
        done = Supervisor(folder, port, settings, log, pidfd).run()
        if done:
            Spool(settings.home_path).retire(folder)
        return done
    finally:
        lock.release()
