"""A load balancer of the tests' own: connections go to the next of several servers that takes them, as they are."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Sequence


class RoundRobin:
    """Passes TCP connections on to the ports in turn; one that refuses is passed over for the next."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._turns = itertools.cycle(ports)
        self._count = len(ports)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.taken: dict[int, int] = dict.fromkeys(ports, 0)
        """How many connections each port took."""
        threading.Thread(target=self._accept, name="balancer", daemon=True).start()

    @property
    def url(self) -> str:
        """The servers' base URL by this way, with ``/api``."""
        return f"http://127.0.0.1:{self.port}/api"

    def close(self) -> None:
        """End it, and every connection through it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(ours,), daemon=True).start()

    def _serve(self, ours: socket.socket) -> None:
        theirs = self._connect()
        with ours:
            if theirs is None:
                return
            with theirs:
                with self._lock:
                    self._open |= {ours, theirs}
                back = threading.Thread(target=_pass_on, args=(theirs, ours), daemon=True)
                back.start()
                _pass_on(ours, theirs)
                back.join()
                with self._lock:
                    self._open -= {ours, theirs}

    def _connect(self) -> socket.socket | None:
        for _ in range(self._count):
            with self._lock:
                port = next(self._turns)
            with contextlib.suppress(OSError):
                theirs = socket.create_connection(("127.0.0.1", port), timeout=5)
                theirs.settimeout(None)
                with self._lock:
                    self.taken[port] += 1
                return theirs
        return None


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until one side ends, and tell both."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
