"""Requests that leave no process behave like those that do."""

from __future__ import annotations

import asyncio
import gzip
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.client.connection import Connection
from headrace.client.inprocess import InProcessTransport
from headrace.errors import ServerUnavailable
from headrace.settings import load


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what was asked, compressed when the path says so; fail when it says so."""
    message = await receive()
    if scope["path"] == "/api/fail":
        raise RuntimeError("broken")
    await asyncio.sleep(0)
    body = b'{"path": "%s", "size": %d}' % (scope["path"].encode(), len(message["body"]))
    headers = [(b"content-type", b"application/json")]
    if scope["path"] == "/api/gzip":
        body, headers = gzip.compress(body), [*headers, (b"content-encoding", b"gzip")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def connect() -> Connection:
    settings = load({"HEADRACE_HOME": "/nonexistent", "HEADRACE_CLIENT_MAX_RETRIES": "0"})
    return Connection(settings, "http://embedded/api", transport=InProcessTransport(app))


def test_bodies_travel_both_ways() -> None:
    """Also compressed ones."""
    with connect() as connection:
        assert connection.post("/x", {"a": 1}) == {"path": "/api/x", "size": 7}
        assert connection.get("/gzip") == {"path": "/api/gzip", "size": 0}


def test_an_application_that_raises_is_a_server_error() -> None:
    """The caller gets an answer, not the application's exception."""
    with connect() as connection, pytest.raises(ServerUnavailable) as caught:
        connection.get("/fail")

    assert caught.value.status == 500


def test_many_threads_share_one() -> None:
    """As they share a network client."""
    with connect() as connection, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: connection.get(f"/{n}")["path"], range(200)))

    assert found == [f"/api/{n}" for n in range(200)]


def test_closing_ends_the_thread_and_may_be_repeated() -> None:
    """Nothing stays behind in the user's process."""
    before = threading.active_count()
    connection = connect()
    connection.get("/x")
    connection.close()
    connection.close()

    assert threading.active_count() == before
