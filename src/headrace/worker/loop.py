"""A worker: asks for runs, has each started, and holds nothing else.

It can be killed, restarted or upgraded while its runs go on: each has a supervisor of its own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable

from ..errors import HeadraceError, LaunchError, ServerUnavailable
from ..journal.reader import iterate
from ..journal.spool import Folder, Spool, is_alive, owner_of, take_lock, try_lock
from ..model import entries
from ..model.orders import Claim, Claims, Order
from ..model.states import DEFAULT_NAME
from ..settings import Settings
from . import stillborn
from .job import order_of
from .launcher import Launcher, NotNow
from .launchers.process import environment
from .live import Live, LiveRuns, left_running
from .source import Patience, Source

POLL_S = 25.0
"""How long a poll waits at the server; under the idle limits of the usual proxies."""

_AT_ONCE = 100
_FULL_S = 20.0
"""How often a worker that takes no more gives a sign of life."""

_RECOVER_S = 15.0
_STATE_S = 2.0
"""How long after a run's end its state is looked for in the journal, to be told."""

_REFUSED_S = 10.0
_AILING_S = 5.0
"""How long a worker that cannot write what a run needs (its disk is full) waits before it tries again."""


class Worker:
    """Carries out the runs of a source.

    ``limit`` is how many may live at once (``None``: any number); ``drain_s`` how long, after :meth:`stop`, runs may
    take before they are ended (``None``: they go on without this process); ``beat`` is called with whether the server
    answered, each time the worker has asked it.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        launcher: Launcher,
        *,
        name: str,
        limit: int | None = None,
        drain_s: float | None = None,
        run_once: bool = False,
        say: Callable[[str], None] = lambda _: None,
        beat: Callable[[bool | None], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._spool = Spool(settings.home_path)
        self._source = source
        self._launcher = launcher
        self._limit = limit
        self._drain_s = drain_s
        self._run_once = run_once
        self._say = say
        self._beat = beat
        self._id = str(uuid.uuid4())
        self._live = LiveRuns()
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._ailing = False
        """Whether what a run needs could not be written; then nothing new is asked for until it can."""
        self._stopping = threading.Event()
        self._asked_all = threading.Event()
        self._telling: list[tuple[float, Live]] = []
        self._recovered = 0.0
        self._recovery: subprocess.Popen[bytes] | None = None

    def __len__(self) -> int:
        """Return how many runs live."""
        with self._lock:
            return len(self._live)

    def run(self) -> None:
        """Work until :meth:`stop` is called, or, with ``run_once``, until what was due has ended."""
        for live in left_running(self._spool, self.name):
            self._live.given(live.folder.id)
            self._live.add(live)
            self._say(f"Found flow run {live.order.claim.run.name!r} running: an earlier worker started it.")
        asking = threading.Thread(target=self._ask, name="headrace-ask", daemon=True)
        asking.start()
        while not self._is_over():
            self._turn()
        if self._stopping.is_set():
            self._take_lost()  # and has the server answer the poll that waits
            asking.join(timeout=5.0)
            self._drain()
        self._tell_ends(all_now=True)
        self._source.close()

    def stop(self) -> None:
        """Take no more runs; any thread and any signal handler may call it."""
        self._stopping.set()
        self._live.wake()

    # -- the loop

    def _is_over(self) -> bool:
        if self._stopping.is_set():
            return True
        with self._lock:
            return self._run_once and self._asked_all.is_set() and not self._live and not self._telling

    def _turn(self) -> None:
        self._live.wait(0.1 if self._telling else 1.0)
        with self._room:
            ended = self._live.ended()
            if ended:
                self._room.notify_all()
        self._telling += [(time.monotonic(), live) for live in ended]
        self._tell_ends()
        self._recover()

    def _tell_ends(self, *, all_now: bool = False) -> None:
        waiting = []
        for ended_at, live in self._telling:
            state, name = _end_of(self._spool, live)
            if state is None and not all_now and time.monotonic() < ended_at + _STATE_S:
                waiting.append((ended_at, live))
                continue
            if state is None:
                self._recovered = 0.0  # its supervisor may have died before it: look at once
            took = ended_at - live.since
            planned = live.order.claim.run.name
            called = repr(planned) if name in (None, planned) else f"{planned!r}, now called {name!r},"
            self._say(f"Flow run {called} ended as {state or 'its supervisor will tell'} after {took:.1f} s.")
        self._telling = waiting

    def _recover(self) -> None:
        """Have the journals shipped that were left behind on this host: by a reboot, or with their supervisors killed."""
        if self._recovery is not None and self._recovery.poll() is None:
            return
        now = time.monotonic()
        if self._recovered and now < self._recovered + _RECOVER_S:
            return
        self._recovered = now
        if not any(_is_left_behind(folder) for folder in self._spool.folders()):
            return
        self._recovery = subprocess.Popen(
            [sys.executable, "-m", "headrace.companion", "--recover"],
            env=environment(self._settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    # -- asking for runs

    def _ask(self) -> None:
        patience = Patience()
        while not self._stopping.is_set():
            try:
                claims = self._claim()
            except ServerUnavailable as error:
                self._failed(patience, str(error), None)
            except HeadraceError as error:
                self._failed(patience, f"The server refuses: {error}", _REFUSED_S)
            except Exception as error:  # noqa: BLE001  # a worker outlives whatever it met
                if not self._stopping.is_set():
                    self._failed(patience, f"Asking for runs met {type(error).__name__}: {error}", None)
            else:
                if patience.worked():
                    self._say("The server answers again.")
                self._beat(True)
                self._start_all(claims)
                if self._run_once:
                    break
        self._asked_all.set()
        self._live.wake()

    def _failed(self, patience: Patience, what: str, pause: float | None) -> None:
        first = not patience.worked()
        seconds = patience.failed()
        if first and not self._stopping.is_set():
            self._say(f"{what} Runs go on; asking again until it answers.")
        self._beat(False)
        self._stopping.wait(pause if pause is not None else max(seconds, 0.5))

    def _claim(self) -> Claims:
        self._ailing = self._ailing and not self._can_write()
        with self._room:
            room = self._free()
            if room <= 0:
                self._room.wait(_FULL_S)
                room = self._free()
            if self._ailing:
                room = 0
            have = self._live.have()
        wait = POLL_S if room > 0 and not self._run_once else 0.0
        return self._source.claim(self._body(room, wait, have))

    def _body(self, limit: int, wait: float, have: list[str]) -> dict[str, object]:
        return {"worker_id": self._id, "worker_name": self.name, "limit": limit, "wait": wait, "have": have}

    def _free(self) -> int:
        return min(_AT_ONCE, self._limit - len(self._live)) if self._limit is not None else _AT_ONCE

    def _take_lost(self) -> None:
        """Start what was given to us by an answer that was lost on its way: it is ours, and nobody else's."""
        with contextlib.suppress(HeadraceError):
            with self._lock:
                have = self._live.have()
            self._start_all(self._source.claim(self._body(0, 0.0, have)))

    # -- starting

    def _start_all(self, claims: Claims) -> None:
        with self._lock:
            new = [claim for claim in claims.claims if self._live.given(claim.journal)]
        confirmed = self._confirmed(new) if new else []
        for claim in confirmed:
            self._start(claim, claims)
        if self._ailing:
            self._stopping.wait(_AILING_S)
        elif claims.claims and not confirmed:
            self._stopping.wait(1.0)  # what their supervisors wrote has not reached the server yet

    def _confirmed(self, given: list[Claim]) -> list[Claim]:
        """Return the attempts that are ours to start: those of which the server knows that we have them.

        The others are given to somebody else. So a run whose worker dies, or is cut off, before it could begin is
        neither lost nor begun twice.
        """
        try:
            kept = set(self._source.confirm(self._id, [claim.journal for claim in given]))
        except HeadraceError:
            kept = set()
        with self._lock:
            for claim in given:
                if claim.journal not in kept:
                    self._live.forget(claim.journal)
        return [claim for claim in given if claim.journal in kept]

    def _start(self, claim: Claim, claims: Claims) -> None:
        order = order_of(claim, claims.template, self.name, os.environ)
        folder = self._make_folder(claim, order)
        if folder is None:
            return
        again = f", attempt {claim.attempt}" if claim.attempt > 1 else ""
        try:
            running = self._launcher.start(order, folder)
        except NotNow as error:
            self._put_off(claim, str(error))
            return
        except LaunchError as error:
            self._report_stillborn(claim, order, folder, error)
            return
        self._say(
            f"Flow run {claim.run.name!r} of flow {claim.run.flow_name!r} started{again}: {running.identity}."
        )
        with self._lock:
            self._live.add(Live(order, folder, running, time.monotonic()))

    def _make_folder(self, claim: Claim, order: Order) -> Folder | None:
        """Make the folder in which a run is to be told of; ``None`` when that cannot be: the run waits, unbegun."""
        try:
            folder = self._spool.create(claim.journal)
            folder.write_order(order)
            folder.keep_room()
        except OSError as error:
            self._put_off(claim, f"{error.strerror} in {self._spool.open}.")
            return None
        return folder

    def _can_write(self) -> bool:
        """Say whether what a run needs can be written again, by writing it."""
        probe = str(uuid.uuid4())
        try:
            self._spool.create(probe).keep_room()
        except OSError:
            return False
        finally:
            self._spool.discard(probe)
        return True

    def _report_stillborn(self, claim: Claim, order: Order, folder: Folder, error: LaunchError) -> None:
        lock = take_lock(folder, _STATE_S)  # its supervisor may be about to end
        if lock is not None:  # else its supervisor is there after all, and tells the rest
            with contextlib.suppress(OSError):
                if owner_of(folder) is None:
                    stillborn.write(folder, order, str(error))
                    folder.adopt()  # no supervisor is to be waited for
            lock.release()
            if owner_of(folder) is None:
                self._put_off(claim, str(error))
                return
        self._say(f"Flow run {claim.run.name!r} could not be started: {error}")
        self._recovered = 0.0

    def _put_off(self, claim: Claim, why: str) -> None:
        """Take nothing new until this run can be started: it is given to us again, until its lease is over."""
        self._spool.discard(claim.journal)
        with self._lock:
            self._live.forget(claim.journal)
        self._ailing = True
        self._say(
            f"Flow run {claim.run.name!r} cannot be started now: {why} No other runs are taken until it can be; "
            f"trying again every {_AILING_S:g} s."
        )

    # -- the end

    def _drain(self) -> None:
        with self._lock:
            going_on = self._live.all()
        if not going_on:
            self._say("Stopped; no runs go on.")
            return
        if self._drain_s is None:
            self._say(
                f"Stopped; {len(going_on)} run{'s' if len(going_on) > 1 else ''} go on under their own supervisors. "
                "`headrace flow-run ls --state running` shows them."
            )
            return
        self._say(f"Stopping: {len(going_on)} runs have {self._drain_s:g} s to end.")
        self._wait_for_ends(self._drain_s)
        with self._lock:
            left = self._live.all()
        for live in left:
            self._say(f"Flow run {live.order.claim.run.name!r} is ended: the worker is drained.")
            live.running.stop(_grace(live, self._settings))
        longest = max([_grace(live, self._settings) for live in left], default=0.0)
        self._wait_for_ends(longest + 5.0)

    def _wait_for_ends(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while len(self) and (left := until - time.monotonic()) > 0:
            self._live.wait(min(left, 1.0))
            with self._lock:
                self._telling += [(time.monotonic(), live) for live in self._live.ended()]
            self._tell_ends()


def _grace(live: Live, settings: Settings) -> float:
    own = live.order.job.grace_seconds
    return own if own is not None else float(settings.grace_seconds)


def _end_of(spool: Spool, live: Live) -> tuple[str | None, str | None]:
    """Return the name of the state with which a run ended, ``None`` before its journal says so, and the run's own name."""
    run, name = live.order.claim.run.id, None
    for folder in (live.folder, Folder(spool.shipped / live.folder.id)):
        with contextlib.suppress(OSError):
            last = None
            for _, entry in iterate(folder.journal):
                if isinstance(entry, (entries.State, entries.Verdict)) and entry.run == run:
                    last = entry
                elif isinstance(entry, entries.FlowRun) and entry.run == run:
                    name = entry.name  # its code may have one of its own for its runs
                elif isinstance(entry, entries.Exit) and last is None:
                    return "nothing", name
            if last is not None and (last.type != "RUNNING" and last.type != "PENDING"):
                return last.name or DEFAULT_NAME[last.type], name
    return None, name


def _is_left_behind(folder: Folder) -> bool:
    """Say whether nobody looks after a journal whose process has ended, or never began."""
    lock = try_lock(folder)
    if lock is None:
        return False
    lock.release()
    header = owner_of(folder)
    return not is_alive(header) if header is not None else folder.never_began(time.time())
