"""A real server process that a test can kill and start again, and a network that it can cut."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from .house import clean_environment, until

_START_S = 30.0


class Server:
    """One server on a home folder of its own, on loopback, always on the same port.

    ``database_url`` is another database than the home folder's SQLite file; ``source`` is a folder with other code
    than this checkout's, its ``src``.
    """

    def __init__(
        self,
        home: Path,
        *,
        lease_s: float | None = None,
        database_url: str | None = None,
        source: Path | None = None,
    ) -> None:
        self.home = home
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._environ: dict[str, object] = {}
        if lease_s is not None:
            self._environ["HEADRACE_SERVER_LEASE_SECONDS"] = lease_s
        if database_url is not None:
            self._environ["HEADRACE_DATABASE_URL"] = database_url
        if source is not None:
            self._environ["PYTHONPATH"] = source

    @property
    def url(self) -> str:
        """Its base URL, with ``/api``."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def pid(self) -> int:
        """Its process id; ``RuntimeError`` before the first start."""
        if self._process is None:
            raise RuntimeError("The server was never started.")
        return self._process.pid

    def start(self) -> Server:
        """Start it, or start it again; return when it is healthy."""
        self.home.mkdir(parents=True, exist_ok=True)
        log = (self.home / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headrace.server"],
                env=clean_environment(self.home, HEADRACE_SERVER_PORT=self.port, **self._environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(self._is_healthy, "the server to be healthy", within=_START_S, told=self.told)
        return self

    def _is_healthy(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"The server ended.\n{self.told()}"
        if not self.port:
            self.port = self._told_port()
        with contextlib.suppress(httpx.TransportError):
            return bool(self.port) and httpx.get(self.url + "/health", trust_env=False).status_code == 200
        return False

    def _told_port(self) -> int:
        try:
            address = json.loads((self.home / "server.json").read_bytes())
        except (OSError, ValueError):
            return 0
        assert self._process is not None
        return int(httpx.URL(address["url"]).port or 0) if address["pid"] == self._process.pid else 0

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator does."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise AssertionError(f"The server does not end when told to.\n{self.told()}") from None

    def told(self) -> str:
        """Return the end of its log."""
        return (self.home / "server.log").read_text(errors="replace")[-4000:]


class Network:
    """A way to a server that can be cut and mended: bytes are passed on in both directions, or nothing is.

    While it is cut, connections stand still, as behind a cable that was pulled: nobody is told anything.
    """

    def __init__(self, port: int) -> None:
        self.target_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._cut = threading.Event()
        self._stands = threading.Event()
        self._goes_on = threading.Event()
        self._closing = False
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The server's base URL by this way, with ``/api``."""
        return f"http://127.0.0.1:{self.port}/api"

    def cut(self) -> None:
        """Let nothing through from now on; what is on its way when this returns will not arrive."""
        self._cut.set()
        assert self._stands.wait(10), "the network goes on"
        self._goes_on.clear()

    def mend(self) -> None:
        """Let everything through again. Connections from before the cut are gone, and those that were begun meanwhile."""
        self._cut.clear()
        assert self._goes_on.wait(10), "the network stands still"

    def close(self) -> None:
        """End it."""
        self._closing = True
        self._thread.join()
        for end in list(self._pairs):
            end.close()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        was_cut = False
        while not self._closing:
            if self._cut.is_set():
                was_cut = True
                self._stands.set()
                self._cut_tick()
                continue
            self._stands.clear()
            if was_cut:
                was_cut = False
                self._refuse_who_waits()
                for end in list(self._pairs):
                    self._drop(end)
            self._goes_on.set()
            for key, _ in self._selector.select(0.02):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._pairs:
                    self._pass_on(key.fileobj)

    def _cut_tick(self) -> None:
        threading.Event().wait(0.02)  # nothing is read and nothing accepted meanwhile

    def _refuse_who_waits(self) -> None:
        """Hang up on connections that the kernel took meanwhile: their bytes, a dead host's among them, did not come through."""
        self._listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()
        self._listener.setblocking(True)

    def _accept(self) -> None:
        ours, _ = self._listener.accept()
        try:
            theirs = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
        except OSError:
            ours.close()
            return
        for one, other in ((ours, theirs), (theirs, ours)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ, None)

    def _pass_on(self, end: socket.socket) -> None:
        try:
            data = end.recv(65536)
            if data:
                self._pairs[end].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        other = self._pairs.pop(end, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for one in (end, other):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(one)
            one.close()
