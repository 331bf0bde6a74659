"""What a worker tells those who watch over it: ``GET /health`` answers 200 while its loop turns, else 503.

``GET /metrics`` tells Prometheus the same.
A worker whose server is away is healthy: it waits, its runs go on, and a restart would help nobody. It says
``"server": "away"`` for people and dashboards. Only a loop that has stopped turning is a reason to restart it.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from ..errors import SettingError

Json = dict[str, Any]

PATIENCE = 3
"""How many polls' time may pass without a turn of the loop before the worker counts as stuck."""


class Beat(NamedTuple):
    """One turn of a worker's loop."""

    turned_s: float
    """When, by a monotonic clock."""
    answered_s: float | None
    """When the server last answered; ``None`` before it ever has."""
    away: bool
    """Whether the last poll got no answer."""


class Health:
    """How a worker fares. Its loop calls :meth:`beat`; anybody may call :meth:`report`, from any thread."""

    def __init__(
        self,
        worker: str,
        pool: str | None,
        *,
        wait_s: float,
        runs: Callable[[], int],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names: Json = {"worker": worker, "pool": pool}
        self._wait_s = wait_s
        self._runs = runs
        self._now = now
        self._last = Beat(now(), None, False)
        self.polls: Counter[bool] = Counter()
        """How often the server was asked, by whether it answered."""

    def beat(self, answered: bool | None = None) -> None:
        """Note a turn of the loop: the server answered, it did not, or it was not asked (``None``)."""
        now = self._now()
        if answered is not None:
            self.polls[answered] += 1
        if answered is None:
            self._last = self._last._replace(turned_s=now)
        else:
            self._last = Beat(now, now if answered else self._last.answered_s, not answered)

    def report(self) -> tuple[int, Json]:
        """Return the HTTP status and the body of ``GET /health``."""
        last, now = self._last, self._now()  # one look: the loop may beat meanwhile
        stuck = now - last.turned_s > PATIENCE * self._wait_s
        since = None if last.answered_s is None else round(now - last.answered_s, 1)
        server = "away" if last.away else "unknown" if since is None else "here"
        said = {"status": "stuck" if stuck else "ok", **self._names, "runs": self._runs(), "server": server}
        return 503 if stuck else 200, {**said, "last_poll_seconds": since}

    def figures(self) -> bytes:
        """Return the body of ``GET /metrics``."""
        from . import metrics  # here: prometheus-client costs a worker megabytes that few of them need

        return metrics.text(*self.report(), self.polls)


class HealthEndpoint:
    """Serves a worker's health over HTTP from a thread of its own; standard library only."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        """Listen at once; port 0 takes a free one.

        Raises:
            SettingError: nothing can listen there.
        """
        self._server = _listen(health, host, port)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self._server.server_address[:2]
        named = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{named}:{port}/health"

    def start(self) -> None:
        """Answer from now on; a second start changes nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Answer no more, and free the port. Stopping twice, or before a start, is fine."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a watcher that never finishes its request must not hold a worker's end up

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a watcher that went away in the middle is no news."""


def _listen(health: Health, host: str, port: int) -> _Server:
    class Handler(_Handler):
        report = staticmethod(health.report)
        figures = staticmethod(health.figures)

    class Server(_Server):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        return Server((host, port), Handler)
    except (OSError, OverflowError) as error:
        raise SettingError(
            f"The worker's health endpoint cannot listen on {host} port {port}: {error}. Set "
            "worker_webserver_host and worker_webserver_port to an address and a port that are free here."
        ) from error


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0  # seconds for a request to come in
    server_version = "headrace"
    sys_version = ""
    report: Callable[[], tuple[int, Json]]
    figures: Callable[[], bytes]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        status, kind, body = self._found(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _found(self, path: str) -> tuple[int, str, bytes]:
        """Return status, type and body of what a path holds."""
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", self.figures()
        status, said = (
            self.report()
            if path == "/health"
            else (404, {"detail": "Only /health and /metrics are served here."})
        )
        return status, "application/json", json.dumps(said).encode()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a probe every few seconds is no news."""
