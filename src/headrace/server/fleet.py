"""Several server processes on one port: started together, watched, replaced when one dies, and ended together.

They inherit the socket that listens. So while one of them is away the others take what comes, and nobody is
refused; the kernel holds new connections even while all of them are replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from headrace.errors import ServerUnavailable

from .services.pulse import TOGETHER

_log = logging.getLogger("headrace.server")

READY_S = 120.0
"""How long a member may take until it serves."""

END_S = 10.0
"""How long a member may take to end, after its time to drain."""

LONGEST_PAUSE_S = 30.0
"""A member that dies again and again is started again after pauses that grow up to this."""

_SOUND_S = 10.0
"""A member that lived so long died of something new."""


class Tether(socket.socket):
    """A member's end of the line to its fleet: it tells that it serves, and hears when the fleet is gone."""

    def serves(self) -> None:
        """Tell that this member serves."""
        self.sendall(b".")

    def when_cut(self, do: Callable[[], None]) -> None:
        """Call ``do`` from a thread of its own when the fleet's process has died."""

        def watch() -> None:
            with contextlib.suppress(OSError):
                self.recv(1)
            do()

        threading.Thread(target=watch, name="headrace-tether", daemon=True).start()


class _Member:
    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.line: socket.socket | None = None
        self.serves = False
        self.started_s = 0.0
        self.again_s = 0.0
        """When it is to be started, by the monotonic clock."""
        self.pause_s = 0.5

    def start(self, command: Sequence[str], listener: socket.socket, environ: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            told = [str(listener.fileno()), str(theirs.fileno())]
            self.process = subprocess.Popen(
                [*command, *told],
                env=environ,
                stdin=subprocess.DEVNULL,
                pass_fds=(listener.fileno(), theirs.fileno()),
                start_new_session=True,  # Ctrl-C is told to the fleet, which tells them
            )
        ours.setblocking(False)
        self.line, self.serves, self.started_s = ours, False, time.monotonic()

    def hear(self) -> bool:
        """Take in what it tells; return whether it has just begun to serve."""
        told = b""
        if self.line is not None:
            with contextlib.suppress(OSError):
                told = self.line.recv(16)
        news, self.serves = bool(told) and not self.serves, self.serves or bool(told)
        return news

    def has_ended(self) -> bool:
        """Say whether its process was there and is not any more; it is forgotten then."""
        if self.process is None or self.process.poll() is None:
            return False
        if self.line is not None:
            self.line.close()
        lived_s = time.monotonic() - self.started_s
        self.pause_s = 0.5 if lived_s > _SOUND_S else min(self.pause_s * 2, LONGEST_PAUSE_S)
        self.again_s = time.monotonic() + (0.0 if lived_s > _SOUND_S else self.pause_s)
        self.line, self.serves = None, False
        return True

    def tell(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Fleet:
    """``count`` processes of one ``command``, to which the descriptors of ``listener`` and of a tether are added.

    ``drain_s`` is how long a member may go on after it was told to end.
    """

    def __init__(
        self, command: Sequence[str], listener: socket.socket, count: int, *, drain_s: float
    ) -> None:
        self._command = command
        self._listener = listener
        self._members = [_Member(number) for number in range(count)]
        self._drain_s = drain_s
        self._asked: list[int] = []
        self._announced = False

    def run(self, announce: Callable[[], None], leave: Callable[[], None]) -> None:
        """Keep the members going until SIGTERM or SIGINT.

        ``announce`` is called once all of them serve, ``leave`` before they are told to end.

        Raises:
            ServerUnavailable: one of them could not be started; the others are ended.
        """
        with (
            _signals(self._asked) as wakes,
            tempfile.TemporaryDirectory(prefix="headrace-metrics-") as folder,
        ):
            environ = {**os.environ, TOGETHER: folder}
            began_s = time.monotonic()
            try:
                while not self._asked:
                    self._turn(environ, folder)
                    self._announce(announce, began_s)
                    self._wait(wakes)
            finally:
                leave()
                self._end(wakes)

    def _turn(self, environ: Mapping[str, str], folder: str) -> None:
        for member in self._members:
            if member.has_ended():
                self._mourn(member, folder)
            if member.process is None and time.monotonic() >= member.again_s:
                member.start(self._command, self._listener, environ)
            if member.hear():
                assert member.process is not None
                _log.info(
                    "Server process %d of %d serves (pid %d).",
                    member.number + 1,
                    len(self._members),
                    member.process.pid,
                )

    def _mourn(self, member: _Member, folder: str) -> None:
        process, member.process = member.process, None
        assert process is not None
        if not self._announced:
            raise ServerUnavailable(
                f"A server process ended with exit code {process.returncode} before it served; what it said is above."
            )
        from prometheus_client.multiprocess import (
            mark_process_dead,
        )  # here: a fleet is rare, and this is rarer

        mark_process_dead(process.pid, folder)  # type: ignore[no-untyped-call]  # it has no annotations
        _log.warning(
            "Server process %d (pid %d) ended with exit code %d; another takes its place.",
            member.number + 1,
            process.pid,
            process.returncode,
        )

    def _announce(self, announce: Callable[[], None], began_s: float) -> None:
        if self._announced:
            return
        if all(member.serves for member in self._members):
            self._announced = True
            announce()
        elif time.monotonic() - began_s > READY_S:
            raise ServerUnavailable(
                f"Not all server processes served within {READY_S:g} s; their log is above."
            )

    def _wait(self, wakes: socket.socket, longest_s: float = 1.0) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(wakes, selectors.EVENT_READ)
            for member in self._members:
                if member.line is not None and not member.serves:
                    selector.register(member.line, selectors.EVENT_READ)
            selector.select(longest_s)
        with contextlib.suppress(BlockingIOError):
            wakes.recv(4096)

    def _end(self, wakes: socket.socket) -> None:
        """End all members, at once for a second signal; the listener takes no more."""
        told = len(self._asked)
        deadline = time.monotonic() + self._drain_s + END_S
        self._tell(signal.SIGTERM)
        while any(member.process is not None and member.process.poll() is None for member in self._members):
            if time.monotonic() > deadline:
                self._tell(signal.SIGKILL)
            elif len(self._asked) > told:
                told = len(self._asked)
                self._tell(signal.SIGTERM)
            self._wait(wakes, 0.2)
        for member in self._members:
            member.has_ended()

    def _tell(self, number: int) -> None:
        for member in self._members:
            member.tell(number)


@contextlib.contextmanager
def _signals(asked: list[int]) -> Iterator[socket.socket]:
    """Note in ``asked`` each signal that asks to end; the socket becomes readable with each, and when a child ends."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    handlers: dict[int, Any] = {
        signal.SIGTERM: lambda number, _frame: asked.append(number),
        signal.SIGINT: lambda number, _frame: asked.append(number),
        signal.SIGCHLD: lambda *_: None,
    }
    with ours, theirs:
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        bell = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(bell)
            for number, handler in before.items():
                signal.signal(number, handler)
