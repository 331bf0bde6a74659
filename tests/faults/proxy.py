"""A way to a server on which everything goes wrong that can go wrong on a way, by a seed and on the record.

It reads whole requests and answers (HTTP/1.1), and draws for each request what becomes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping

_HEAD = b"\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # linger 0: what is closed then is reset
_LOOK_S = 0.02
_TICKS = 10
"""Pieces a second in which a slow line passes on."""


class Fault(enum.Enum):
    """What may become of one request."""

    DELAY = "delay"
    """It waits before the server hears of it, and its answer waits again."""
    CUT = "cut"
    """The connection is reset somewhere: within the request, or within the answer."""
    HALF_CLOSE = "half-close"
    """One direction ends and the other does not: the server, or the client, hears nothing more and may still speak."""
    THROTTLE = "throttle"
    """Request and answer trickle, :attr:`Proxy.bytes_per_s` of them."""
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    GATEWAY_TIMEOUT = "504"
    TOO_MANY = "429"
    """The server hears nothing; the client is told to come again, by 429 with ``Retry-After``."""
    SWALLOW = "swallow"
    """The server acts and answers; the client hears nothing of that: its connection is closed."""


_REASONS = {
    Fault.BAD_GATEWAY: "Bad Gateway",
    Fault.UNAVAILABLE: "Service Unavailable",
    Fault.GATEWAY_TIMEOUT: "Gateway Timeout",
    Fault.TOO_MANY: "Too Many Requests",
}


class _Gone(Exception):
    """A side has closed, or was closed on purpose."""


class _End:
    """One side of a connection, read by whole messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def message(self, *, answer_to: bytes = b"") -> bytes:
        """Return the next request, or the next answer to ``answer_to``."""
        try:
            head = await self._reader.readuntil(_HEAD)
            return head + await self._body(head, answer_to)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise _Gone from error

    async def _body(self, head: bytes, answer_to: bytes) -> bytes:
        fields = _fields(head)
        if answer_to.startswith(b"HEAD ") or head[9:12] in (b"204", b"304"):
            return b""
        if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            return await self._chunks()
        if b"content-length" in fields:
            return await self._reader.readexactly(int(fields[b"content-length"]))
        return await self._reader.read() if answer_to else b""

    async def _chunks(self) -> bytes:
        found = b""
        while True:
            size = await self._reader.readuntil(b"\r\n")
            piece = await self._reader.readexactly(int(size.split(b";")[0], 16) + 2)
            found += size + piece
            if piece == b"\r\n":
                return found

    async def send(self, data: bytes, bytes_per_s: float | None = None) -> None:
        """Send all of it, or at a rate."""
        step = len(data) or 1 if bytes_per_s is None else max(int(bytes_per_s / _TICKS), 1)
        try:
            for start in range(0, len(data), step):
                self._writer.write(data[start : start + step])
                await self._writer.drain()
                if bytes_per_s is not None:
                    await asyncio.sleep(1 / _TICKS)
        except OSError as error:
            raise _Gone from error

    def finish(self) -> None:
        """Say that nothing more comes from here."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    def is_gone(self) -> bool:
        """Whether the other side has closed or reset it."""
        return self._reader.at_eof() or self._reader.exception() is not None

    def abort(self) -> None:
        """Close it now, whatever was not sent yet."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """Close it as a device does that forgot the connection."""
        found: socket.socket | None = self._writer.get_extra_info("socket")
        if found is not None:
            with contextlib.suppress(OSError):
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.abort()

    async def close(self) -> None:
        """Close it."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def _fields(head: bytes) -> dict[bytes, bytes]:
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:] if line]
    return {name.strip().lower(): value.strip() for name, _, value in lines}


class Proxy:
    """Passes requests on to ``port`` of this host, from a thread of its own, always on one port of its own.

    ``switch`` says which share of the requests meets which fault; tests may call it at any time.
    """

    def __init__(self, port: int, *, seed: int) -> None:
        self.target_port = port
        self.bytes_per_s = 1000.0
        self.longest_delay_s = 1.0
        self.retry_after_s = 1
        self.counts: Counter[Fault] = Counter()
        """How often each fault has really happened."""
        self.passed = 0
        """Requests whose answers arrived untouched."""
        self._rng = random.Random(seed)
        self._shares: dict[Fault, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._enough = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The server's base URL by this way, with ``/api``."""
        return f"http://127.0.0.1:{self.port}/api"

    def switch(self, shares: Mapping[Fault, float] | None = None) -> None:
        """Let each fault meet such a share of the requests from now on (together at most 1); nothing: none."""
        self._shares = dict(shares or {})

    def close(self) -> None:
        """End it and every connection; closing twice is fine."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._enough.set)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._listener)
        await self._enough.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _End(reader, writer)
        task = self._loop.create_task(self._carry(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: client.abort())  # one that is cancelled may not even have begun

    async def _carry(self, client: _End) -> None:
        """Pass on what comes by one connection until one of its ends is gone."""
        try:
            server = _End(*await asyncio.open_connection("127.0.0.1", self.target_port))
        except OSError:
            client.reset()  # as if nobody listened here either
            return
        try:
            while True:
                await self._pass_on(client, server, await client.message())
        except _Gone:
            pass
        finally:
            server.abort()
            await client.close()

    async def _pass_on(self, client: _End, server: _End, request: bytes) -> None:
        fault = self._draw()
        if fault in _REASONS:
            self.counts[fault] += 1
            await client.send(self._refusal(fault))
        elif fault is Fault.CUT:
            await self._cut(client, server, request)
        elif fault is Fault.HALF_CLOSE:
            await self._half_close(client, server, request)
        elif fault is Fault.SWALLOW:
            await server.send(request)
            await self._answer(client, server, request)
            self.counts[fault] += 1
            raise _Gone
        else:
            await self._bring(client, server, request, fault)

    def _draw(self) -> Fault | None:
        drawn = self._rng.random()
        for fault, share in self._shares.items():
            if drawn < share:
                return fault
            drawn -= share
        return None

    def _refusal(self, fault: Fault) -> bytes:
        body = b"<html><body>A proxy speaks here, and no server.</body></html>"
        more = f"Retry-After: {self.retry_after_s}\r\n" if fault is Fault.TOO_MANY else ""
        head = f"HTTP/1.1 {fault.value} {_REASONS[fault]}\r\nContent-Type: text/html\r\n{more}"
        return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body

    async def _bring(self, client: _End, server: _End, request: bytes, fault: Fault | None) -> None:
        """Pass request and answer on, whole, if not at once."""
        rate = self.bytes_per_s if fault is Fault.THROTTLE else None
        if fault is Fault.DELAY:
            await asyncio.sleep(self._rng.uniform(0.0, self.longest_delay_s))
        await server.send(request, rate)
        answer = await self._answer(client, server, request)
        if fault is Fault.DELAY:
            await asyncio.sleep(self._rng.uniform(0.0, self.longest_delay_s))
        if fault is None:
            self.passed += 1
        else:
            self.counts[fault] += 1  # before the client can know
        await client.send(answer, rate)
        if _fields(answer[: answer.index(_HEAD)]).get(b"connection", b"").lower() == b"close":
            raise _Gone

    async def _cut(self, client: _End, server: _End, request: bytes) -> None:
        """Reset both sides, as likely before the server has heard all as after it has acted."""
        if self._rng.random() < 0.5:
            await server.send(request[: self._rng.randrange(len(request))])
        else:
            await server.send(request)
            answer = await self._answer(client, server, request)
            await client.send(answer[: self._rng.randrange(len(answer))])
        self.counts[Fault.CUT] += 1  # before the client can know
        client.reset()
        server.reset()
        raise _Gone

    async def _half_close(self, client: _End, server: _End, request: bytes) -> None:
        """End one direction: the client's to the server, or the server's to the client before it has answered."""
        to_server = self._rng.random() < 0.5
        if not to_server:
            client.finish()
        await server.send(request)
        if to_server:
            server.finish()
        self.counts[Fault.HALF_CLOSE] += 1
        answer = await self._answer(client, server, request)
        if to_server:
            await client.send(answer)
        raise _Gone

    async def _answer(self, client: _End, server: _End, request: bytes) -> bytes:
        """Wait for the server's answer, as long as there is somebody who waits for it."""
        answering = asyncio.ensure_future(server.message(answer_to=request))
        try:
            while not (await asyncio.wait([answering], timeout=_LOOK_S))[0]:
                if client.is_gone():
                    raise _Gone
            return answering.result()
        finally:
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError, _Gone):
                await answering
