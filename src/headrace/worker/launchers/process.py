"""Runs as processes of this host: each under a supervisor, forked from a template process that is kept warm."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from ...errors import LaunchError
from ...journal.reader import iterate
from ...journal.spool import Folder, Spool, host_name, is_running, is_supervised, owner_of, start_ticks
from ...model import marks
from ...model.entries import Adopted
from ...model.orders import Order, Started, decode_started
from ...settings import Settings
from ..launcher import Gone, NotNow

_READY_S = 60.0
"""How long a template process may take to import what it preloads."""

_START_S = 20.0
"""How long a fork may take on a busy machine until its run has begun."""

_TRIES = 2


class ProcessRun:
    """A run process of this host, with its supervisor."""

    def __init__(self, folder: Folder, run: int, supervisor: int, started: int | None = None) -> None:
        self.pid = run
        self._folder = folder
        self._supervisor = supervisor
        self._started = started if started is not None else start_ticks(run)
        self._fd: int | None = None
        with contextlib.suppress(OSError, AttributeError):  # it has ended already, or this is macOS
            self._fd = os.pidfd_open(run)
        self._gone: Gone | None = None

    @property
    def identity(self) -> str:
        """Host, pid and start time: never given to another one."""
        return f"{host_name()}:{self.pid}:{self._started or 0}"

    def fileno(self) -> int | None:
        """Return the process's pidfd, readable once it has ended."""
        return self._fd

    def poll(self) -> Gone | None:
        """Return that it has ended, ``None`` while it lives."""
        if self._gone is None and self._has_ended():
            self._gone = Gone()
            self._close()
        return self._gone

    def stop(self, grace_seconds: float) -> None:
        """Tell its supervisor to have it end as by a SIGTERM; it kills what is left after the grace time."""
        if self.poll() is None:
            with contextlib.suppress(OSError):
                self._folder.stop.write_text(str(grace_seconds), encoding="ascii")
                os.kill(self._supervisor, signal.SIGUSR1)

    def _has_ended(self) -> bool:
        if self._fd is not None:
            return bool(select.select([self._fd], [], [], 0)[0])
        return self._started is None or not is_running(self.pid, self._started)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class ProcessLauncher:
    """Starts runs as processes; keeps one template process for each set of modules to preload."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._templates: dict[tuple[str, ...], _Template] = {}
        self._closed = False

    def warm_up(self) -> None:
        """Start the template process that most runs use, so that the first of them need not wait."""
        self._template(())

    def start(self, order: Order, folder: Folder) -> ProcessRun:
        """Start the run of an order; its supervisor lives on when this process ends.

        Raises:
            LaunchError: no process could be started.
        """
        key = tuple(order.job.preload) if order.job.start == "warm" else ()
        reason = ""
        for _ in range(_TRIES):
            try:
                told = self._template(key).start(folder)
                return ProcessRun(folder, told.run, told.supervisor)
            except _TemplateGone as gone:
                reason = str(gone)
                if folder.is_adopted() or is_supervised(folder):
                    raise LaunchError(f"The run may have begun, and nobody told of it: {reason}") from gone
                self._forget(key)
        raise LaunchError(f"No process could be started for the run: {reason}")

    def find(self, identity: str) -> ProcessRun | None:
        """Return a run that an earlier worker started on this host, ``None`` when it has ended.

        Raises:
            LaunchError: it was started on another host.
        """
        host, *rest = identity.rsplit(":", 2)
        if host != host_name() or len(rest) != 2 or not all(part.isdigit() for part in rest):
            raise LaunchError(f"{identity!r} is not a process of this host ({host_name()}).")
        pid, started = map(int, rest)
        if not is_running(pid, started):
            return None
        for folder in Spool(self._settings.home_path).folders():
            header = owner_of(folder)
            if header is not None and (header.pid, header.started) == (pid, started):
                return ProcessRun(folder, pid, supervisor_of(folder), started)
        raise LaunchError(f"Process {pid} is no run whose journal lies in {self._settings.home_path}.")

    def close(self) -> None:
        """End the template processes. Runs and their supervisors go on."""
        with self._lock:
            self._closed = True
            templates, self._templates = list(self._templates.values()), {}
        for template in templates:
            template.close()

    def _template(self, key: tuple[str, ...]) -> _Template:
        with self._lock:
            if self._closed:
                raise LaunchError("The launcher is closed.")
            found = self._templates.get(key)
            if found is None or found.is_gone:
                found = self._templates[key] = _Template(self._settings, key)
        return found

    def _forget(self, key: tuple[str, ...]) -> None:
        with self._lock:
            gone = self._templates.pop(key, None)
        if gone is not None:
            gone.close()


class _TemplateGone(Exception):
    """The template process ended, or did not answer."""


class _Template:
    """One template process, spoken to from any thread."""

    def __init__(self, settings: Settings, preload: tuple[str, ...]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        self._waiting: dict[str, Future[Started]] = {}
        self._lock = threading.Lock()
        self.is_gone = False
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headrace.template", str(theirs.fileno()), *preload],
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._ready = self._expect("")
        threading.Thread(target=self._listen, name="headrace-template", daemon=True).start()

    def start(self, folder: Folder) -> Started:
        """Have the run in ``folder`` started; return once it has begun.

        Raises:
            NotNow: the disk is full.
            LaunchError: the template cannot fork.
            _TemplateGone: it ended, or does not answer.
        """
        told = self._expect(folder.id)
        self._wait(self._ready, _READY_S)
        try:
            self._socket.send(os.fsencode(folder.path))
        except OSError as error:
            raise _TemplateGone(f"the template process is gone ({error.strerror})") from error
        answer = self._wait(told, _START_S)
        if answer.error:
            refusal = NotNow if answer.later else LaunchError
            raise refusal(f"The run's process could not be started: {answer.error}.")
        return answer

    def close(self) -> None:
        """Have the process end."""
        self.is_gone = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:  # it imports something that takes its time
            self._process.kill()
            self._process.wait()

    def _expect(self, journal: str) -> Future[Started]:
        future: Future[Started] = Future()
        with self._lock:
            self._waiting[journal] = future
        return future

    def _wait(self, future: Future[Started], seconds: float) -> Started:
        try:
            return future.result(seconds)
        except FutureTimeout as error:
            self.is_gone = True
            raise _TemplateGone(f"the template process did not answer within {seconds:g} s") from error

    def _listen(self) -> None:
        while True:
            try:
                message = self._socket.recv(4096)
            except OSError:
                message = b""
            if not message:
                break
            told = decode_started(message)
            with self._lock:
                future = self._waiting.pop(told.journal, None)
            if future is not None:
                future.set_result(told)
        self.is_gone = True
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(_TemplateGone("the template process ended"))
        self._socket.close()


def supervisor_of(folder: Folder) -> int:
    """Return the pid of the supervisor that took a journal over last."""
    found = [entry.pid for _, entry in iterate(folder.journal) if isinstance(entry, Adopted)]
    return found[-1] if found else 0


def environment(settings: Settings) -> dict[str, str]:
    """Return an environment in which another process has these settings, and none of this run's marks."""
    environ = {**os.environ, **settings.environment()}
    environ.pop(marks.JOURNAL, None)
    return environ
