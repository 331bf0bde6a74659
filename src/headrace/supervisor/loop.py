"""Supervise one process from its first record until its journal is on the server."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import time
from collections.abc import Callable

from ..client.port import JournalPort
from ..journal.reader import read_header
from ..journal.spool import Folder, Lock, Spool, boot_id
from ..model import entries
from ..model.clock import AnchoredClock
from ..model.orders import Order
from ..settings import Settings
from . import tail
from .budget import Budget
from .closing import Closing
from .control import Listener
from .evidence import Vitals
from .notes import Notes
from .output import Output
from .reins import Reins
from .ship import Shipper
from .watch import Child, Watched, reap_others

_OUTPUT_S = 0.25
"""How often the output of a run is looked at; a look that finds nothing takes some 5 µs."""


class Supervisor:
    """Stands over one run process. ``run()`` returns when the journal is shipped or patience is over.

    ``child`` says that the process is our own child; ``order`` is what a worker told it to do, if one did.
    """

    def __init__(
        self,
        folder: Folder,
        port: JournalPort,
        settings: Settings,
        log: Callable[[str], None],
        pidfd: int | None = None,
        *,
        child: bool = False,
        order: Order | None = None,
        echo: Callable[[bytes], None] | None = None,
    ) -> None:
        header = read_header(folder.journal)
        if header is None:
            raise ValueError(f"{folder.journal} does not begin with a header that can be read.")
        self.header = header
        self._folder = folder
        self._settings = settings
        self._child = child
        self._clock = AnchoredClock(header.anchor if header.boot == boot_id() else None)
        self._notes = Notes(folder, self._clock)
        self._runs = tail.OpenRuns()
        self._shipper = Shipper(folder, port, self._runs, log)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._listener = Listener(folder.id, port, self._wake_write, log)
        self._watched = Child(header, pidfd) if child else Watched(header, pidfd)
        self._vitals = Vitals(header.pid, header.oom_kills if header.boot == boot_id() else None)
        self._budget = Budget(folder, settings.spool_limit)
        job = order.job if order is not None else None
        self._reins = Reins(
            folder, self._watched, self._shipper, self._runs, self._notes, job, settings.grace_seconds
        )
        self._planned = order.claim.run.id if order is not None else None
        self._output = self._open_output(order, echo) if order is not None else None
        self._stop = False

    def _open_output(self, order: Order, echo: Callable[[bytes], None] | None) -> Output:
        run = order.claim.run.id

        def tell(line: str) -> None:
            if not self._notes.tell(run, 20, line, logger="headrace.output"):
                raise OSError(
                    errno.ENOSPC, os.strerror(errno.ENOSPC)
                )  # it stays where it is, and is told later

        return Output(self._folder.output, tell, echo=echo if order.job.stream_output else None)

    def stop(self) -> None:
        """Have the process end, as by a SIGTERM from outside; any thread and any signal handler may call it."""
        self._stop = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"!")

    def run(self) -> bool:
        """Supervise to the end; return whether the server holds the whole journal."""
        self._shipper.catch_up()
        self._shipper.is_first = self._child or not self._runs.adopted
        lives = not self._watched.ended
        if lives:
            self._vitals.sample()  # a process may die before the first second is over
        if lives and not self._child:  # a parent has said so before it let its child go
            self._notes.append(entries.Adopted(self._clock.now_us(), os.getpid()))
        self._shipper.start()
        if lives:
            self._listener.start()
            self._watch()
            self._keep_budget()
        self._listener.stop()
        if not self._folder.journal.exists():
            return False
        if not self._runs.exited:
            self._close_journal()
        return self._ship_rest()

    def _watch(self) -> None:
        while not self._watched.wait(self._patience(), self._wake_read):
            self._vitals.sample()
            if not self._folder.journal.exists():
                return  # its home was removed under it, as a test's is: there is nothing to supervise
            self._take_commands()
            if self._stop:
                self._reins.stop()
            self._reins.keep()
            self._take_output()
            self._keep_budget()
            if self._child:
                reap_others(self.header.pid)

    def _patience(self) -> float:
        """Return how long to sleep: until the next deadline, a second at most."""
        patience = self._reins.patience()
        return patience if self._output is None else min(patience, _OUTPUT_S)

    def _take_commands(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while True:
            try:
                command = self._listener.commands.get_nowait()
            except queue.Empty:
                return
            if command.action == "cancel":
                self._reins.cancel(command)
            elif command.action in ("suspend", "resume"):
                self._reins.hand_on(command)

    def _take_output(self, *, final: bool = False) -> None:
        if self._output is not None:
            with contextlib.suppress(OSError):  # a full disk: what cannot be told now is told later
                self._output.take(final)

    def _keep_budget(self) -> None:
        dropped = 0
        with contextlib.suppress(OSError):  # a full disk: the next look may find room to work in
            dropped = self._budget.keep(self._shipper)
        if dropped:
            reason = "the journal passed spool_limit while the server was away"
            self._notes.append(entries.Missing(self._clock.now_us(), dropped, reason, logs=dropped))

    def _close_journal(self) -> None:
        self._take_output(final=True)  # before the verdict: its last lines are evidence
        self._shipper.catch_up()
        Closing(
            self._folder,
            self.header,
            self._watched,
            self._vitals,
            self._reins,
            self._runs,
            self._notes,
            self._shipper.wake,
            is_parent=self._child,
            patience_s=self._settings.ship_patience,
            planned=self._planned,
            untold=self._output.last_untold() if self._output is not None else [],
        ).close()
        self._notes.close()

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
        # A journal without its end, for want of room on the disk, is left to whoever comes when there is some.
        done = self._shipper.is_done() and self._runs.exited
        self._shipper.stop()
        self._watched.close()
        return done


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
        supervisor = Supervisor(folder, port, settings, log, pidfd, order=folder.order())
        return finish(supervisor, folder, settings)
    finally:
        lock.release()


def finish(supervisor: Supervisor, folder: Folder, settings: Settings) -> bool:
    """Supervise to the end and put the journal away when the server has it; return whether it has."""
    done = supervisor.run()
    if done:
        Spool(settings.home_path).retire(folder)
    return done
