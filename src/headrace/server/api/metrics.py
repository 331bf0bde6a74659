"""What a server tells Prometheus: ``GET /metrics``, beside the API; what each figure means is in the documents.

Counts are kept where things happen and cost a microsecond; the database is asked when somebody looks, at most once
in :data:`FRESH_S`.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.server.services.pulse import TOGETHER
from headrace.server.store import gauges
from headrace.server.store.database import Database

FRESH_S = 5.0
"""How long what the database told is told again: several watchers ask no more than one."""

HOUR_US = 3_600_000_000

_LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LAGS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
_DEADLOCKS = frozenset(("40P01",))


class Meter:
    """The counts of one server process; ``held`` says whether it turns the loops."""

    def __init__(self, database: Database, *, held: Callable[[], bool], now_us: Callable[[], int]) -> None:
        self._database = database
        self._held = held
        self._now_us = now_us
        self._told: Tally[str] = Tally()
        self._told_ended: Tally[tuple[str, str]] = Tally()
        self._lock = threading.Lock()
        self._asked_s, self._answer = -FRESH_S, b""
        self.registry = CollectorRegistry()
        self._of_requests()
        self._of_ingest()
        self._of_the_database()

    def _of_requests(self) -> None:
        names = ("method", "route", "status")
        self._requests = self._make(Counter, "headrace_http_requests", "Requests answered.", names)
        self._seconds = Histogram(
            "headrace_http_request_seconds",
            "Seconds until a request was answered; polls wait on purpose.",
            ("route",),
            buckets=_LATENCIES_S,
            registry=self.registry,
        )

    def _of_ingest(self) -> None:
        self._bytes = self._make(Counter, "headrace_ingest_bytes", "Bytes of journals that were taken in.")
        self._records = self._make(
            Counter, "headrace_ingest_records", "Records of journals that were taken in."
        )
        self._lag = Histogram(
            "headrace_ingest_lag_seconds",
            "Seconds from a batch's newest record to its commit.",
            buckets=_LAGS_S,
            registry=self.registry,
        )
        self._claims = self._make(Counter, "headrace_claims", "Runs that were given to workers.")

    def _of_the_database(self) -> None:
        self._faults = self._make(
            Counter,
            "headrace_database_retries",
            "Writes that met a passing fault and were tried again.",
            ("code",),
        )
        self._ended = self._make(
            Counter,
            "headrace_database_faults",
            "Reads and writes that a passing fault ended: whoever asked was told to come again.",
            ("work", "code"),
        )
        self._deadlocks = self._make(Counter, "headrace_database_deadlocks", "Writes that met a deadlock.")
        self._pool = self._make(
            Gauge, "headrace_database_connections_used", "Connections in use.", ("pool",), "livesum"
        )
        self._loops = self._make(
            Gauge,
            "headrace_loops_held",
            "1 where the loops turn that turn once for all servers.",
            (),
            "livesum",
        )

    def _make(
        self, kind: Any, name: str, text: str, labels: tuple[str, ...] = (), together: str | None = None
    ) -> Any:
        more = {} if together is None else {"multiprocess_mode": together}
        return kind(name, text, labels, registry=self.registry, **more)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Take that a request was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def took_in(self, records: int, size: int, newest_us: int) -> None:
        """Take that so many records and bytes of a journal are held now; the newest is of ``newest_us``."""
        self._records.inc(records)
        self._bytes.inc(size)
        if newest_us:
            self._lag.observe(max(0.0, (self._now_us() - newest_us) / 1e6))

    def gave(self, runs: int) -> None:
        """Take that runs were given to a worker."""
        self._claims.inc(runs)

    def update(self) -> None:
        """Bring up to date what is not counted here; any thread may call it."""
        for pool, used in self._database.connections_used().items():
            self._pool.labels(pool).set(used)
        self._loops.set(self._held())
        with self._lock:
            for code, count in list(self._database.faults.items()):
                new = count - self._told[code]
                self._told[code] = count
                self._faults.labels(code).inc(new)
                if code in _DEADLOCKS:
                    self._deadlocks.inc(new)
            for labels, count in list(self._database.ended.items()):
                self._ended.labels(*labels).inc(count - self._told_ended[labels])
                self._told_ended[labels] = count

    def text(self) -> bytes:
        """Return all figures, of all processes of this server."""
        self.update()
        registry = self.registry
        if os.environ.get(TOGETHER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no annotations
        return generate_latest(registry) + self._of_runs()

    def _of_runs(self) -> bytes:
        """Return the figures that are the database's, the same for every server on it."""
        with self._lock:
            if time.monotonic() - self._asked_s >= FRESH_S:
                self._answer = generate_latest(self._asked())
                self._asked_s = time.monotonic()
            return self._answer

    def _asked(self) -> CollectorRegistry:
        registry, now_us = CollectorRegistry(), self._now_us()
        with self._database.read() as connection:
            runs = gauges.open_runs(connection)
            ended = gauges.ended_runs(connection, now_us - HOUR_US)
            queues = gauges.queues(connection, now_us)
        names = ("type", "state")
        now = Gauge("headrace_flow_runs", "Flow runs that have not ended.", names, registry=registry)
        hour = Gauge(
            "headrace_flow_runs_ended", "Flow runs that ended in the last hour.", names, registry=registry
        )
        for gauge, counts in ((now, runs), (hour, ended)):
            for count in counts:
                gauge.labels(count.type, count.name).set(count.runs)
        names = ("work_pool", "work_queue")
        due = Gauge("headrace_queue_due", "Runs that are due and that nobody took.", names, registry=registry)
        oldest = Gauge(
            "headrace_queue_oldest_due_seconds", "Seconds since the first was due.", names, registry=registry
        )
        for queue in queues:
            due.labels(queue.pool, queue.queue).set(queue.due)
            waited_us = 0 if queue.oldest_us is None else now_us - queue.oldest_us
            oldest.labels(queue.pool, queue.queue).set(waited_us / 1e6)
        return registry


def router(meter: Meter) -> APIRouter:
    """Return the route of the figures."""
    made = APIRouter()

    @made.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(meter.text(), media_type=CONTENT_TYPE_LATEST)

    return made


class Metered:
    """Count every request by its route, and how long it took; what leads nowhere is one route."""

    def __init__(self, app: ASGIApp, *, meter: Meter) -> None:
        self._app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, status = time.perf_counter(), 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._meter.answered(
                _METHODS.get(scope["method"], "other"), route, status, time.perf_counter() - began_s
            )


_METHODS = {each: each for each in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")}
