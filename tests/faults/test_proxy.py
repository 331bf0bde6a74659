"""The proxy does to requests what it says, and says what it did: a fault that does not happen proves nothing."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .proxy import Fault, Proxy

BODY = b"x" * 2000


class _Echo(http.server.ThreadingHTTPServer):
    """Answers with what it was sent, and keeps what it heard."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[bytes] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Echo

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append(body)
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[_Echo]:
    """A server that tells what reached it."""
    with _Echo() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: _Echo) -> Iterator[Proxy]:
    """The way to it."""
    made = Proxy(echo.server_address[1], seed=1)
    yield made
    made.close()


def put(proxy: Proxy, body: bytes = BODY) -> httpx.Response:
    """Send one request on a connection of its own."""
    with httpx.Client(timeout=10, trust_env=False, verify=False) as client:  # reading certificates takes time
        return client.put(proxy.url, content=body)


def test_nothing_happens_unless_it_is_told(echo: _Echo, proxy: Proxy) -> None:
    """Bytes pass as they are."""
    assert put(proxy).content == BODY
    assert (echo.heard, proxy.passed, proxy.counts) == ([BODY], 1, {})


@pytest.mark.parametrize(
    "fault", [Fault.BAD_GATEWAY, Fault.UNAVAILABLE, Fault.GATEWAY_TIMEOUT, Fault.TOO_MANY]
)
def test_it_refuses_by_itself(echo: _Echo, proxy: Proxy, fault: Fault) -> None:
    """The server hears nothing of it."""
    proxy.switch({fault: 1.0})
    answer = put(proxy)

    assert answer.status_code == int(fault.value)
    assert answer.headers.get("retry-after") == ("1" if fault is Fault.TOO_MANY else None)
    assert (echo.heard, proxy.counts) == ([], {fault: 1})


def test_it_swallows_the_answer_after_the_server_has_acted(echo: _Echo, proxy: Proxy) -> None:
    """The server has heard it; the client cannot know."""
    proxy.switch({Fault.SWALLOW: 1.0})
    with pytest.raises(httpx.RemoteProtocolError):
        put(proxy)

    assert (echo.heard, proxy.counts) == ([BODY], {Fault.SWALLOW: 1})


def test_it_cuts_before_and_after_the_server_has_acted(echo: _Echo, proxy: Proxy) -> None:
    """Of some of the requests the server has heard, of others not; no client has an answer."""
    proxy.switch({Fault.CUT: 1.0})
    for _ in range(20):
        with pytest.raises(httpx.TransportError):
            put(proxy)

    assert 0 < len(echo.heard) < 20
    assert proxy.counts == {Fault.CUT: 20}


def test_it_closes_one_direction(echo: _Echo, proxy: Proxy) -> None:
    """The server has always heard it; the client has an answer or has not."""
    proxy.switch({Fault.HALF_CLOSE: 1.0})
    answered = 0
    for _ in range(20):
        with contextlib.suppress(httpx.TransportError):
            answered += put(proxy).content == BODY

    assert 0 < answered < 20
    assert (len(echo.heard), proxy.counts) == (20, {Fault.HALF_CLOSE: 20})


def test_it_trickles(proxy: Proxy) -> None:
    """Request and answer take the time that their bytes take."""
    proxy.switch({Fault.THROTTLE: 1.0})
    proxy.bytes_per_s = 10_000
    began = time.monotonic()
    answer = put(proxy)

    assert answer.content == BODY
    assert time.monotonic() - began >= 2 * len(BODY) / 10_000
    assert proxy.counts == {Fault.THROTTLE: 1}


def test_it_delays(proxy: Proxy) -> None:
    """Ten requests take about ten times the longest delay: two waits each, of half of it."""
    proxy.switch({Fault.DELAY: 1.0})
    proxy.longest_delay_s = 0.1
    began = time.monotonic()
    for _ in range(10):
        assert put(proxy).content == BODY

    assert time.monotonic() - began >= 0.3
    assert proxy.counts == {Fault.DELAY: 10}


def test_shares_are_shares(proxy: Proxy) -> None:
    """What is drawn is drawn as often as it was told, from the seed."""
    proxy.switch({Fault.UNAVAILABLE: 0.25, Fault.TOO_MANY: 0.25})
    found = [put(proxy, b"x").status_code for _ in range(80)]

    assert 8 <= found.count(503) <= 32
    assert 8 <= found.count(429) <= 32
    assert proxy.passed == found.count(200)


def test_a_client_that_hangs_up_takes_its_request_along(proxy: Proxy) -> None:
    """Nobody listens behind it: the client is told by a reset, as it would be without it."""
    proxy.target_port = 1
    with pytest.raises(httpx.TransportError):
        put(proxy)
