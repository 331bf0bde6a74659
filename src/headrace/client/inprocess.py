"""Carry requests to an application in this very process: no socket, no server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class InProcessTransport(httpx.BaseTransport):
    """Run an ASGI application on an event loop in a thread of its own, for a blocking client. Thread-safe.

    The application's lifespan is not run: whoever makes the application opens and closes what it needs.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 0), raise_app_exceptions=False)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="headrace-in-process", daemon=True
        )
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request out and return its whole answer."""
        return asyncio.run_coroutine_threadsafe(self._handle(request), self._loop).result()

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(_awaitable(request))
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        # Not decoded: the length and encoding that the headers tell belong to the bytes as they came.
        content = b"".join([part async for part in answer.stream])
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(content))

    def close(self) -> None:
        """End the loop and its thread; closing twice is fine."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _awaitable(request: httpx.Request) -> httpx.Request:
    """Return the same request with a body that an event loop can read."""
    return httpx.Request(
        request.method,
        request.url,
        headers=request.headers,
        stream=httpx.ByteStream(request.read()),
        extensions=request.extensions,
    )
