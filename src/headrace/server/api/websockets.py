"""The websockets of the contract: events in, events out, logs out. Each opens with the same handshake."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from headrace.model.clock import iso
from headrace.server.orchestration import task_run_events
from headrace.server.store import logs as log_store
from headrace.wire.filters import LogFilter

from . import event_filters, logs
from .context import Context, context

router = APIRouter()
_log = logging.getLogger("headrace.server")

PROTOCOL = "prefect"
_POLICY_VIOLATION = 1008
_AT_ONCE = 500
"""Events that are written in one transaction at most."""

_QUEUED = 5_000
"""Events that one client may be ahead of the database; past it its socket is not read."""

_LOOK_FOR_LOGS_S = 1.0


class _Refused(Exception):
    """The handshake failed; the socket is closed."""


@contextlib.asynccontextmanager
async def _accepted(websocket: WebSocket) -> AsyncIterator[Context]:
    """Carry out the handshake, and let the client go in peace whenever it goes."""
    at = context(websocket)
    offered = websocket.scope.get("subprotocols") or []
    await websocket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
    try:
        hello = await _receive(websocket)
        if not isinstance(hello, dict) or hello.get("type") != "auth":
            raise _Refused("Expected an 'auth' message")
        known = at.settings.server_auth_string
        if known and not hmac.compare_digest(str(hello.get("token") or "").encode(), known.encode()):
            raise _Refused("Unauthorized")
        await _send(websocket, {"type": "auth_success"})
        yield at
    except _Refused as error:
        await websocket.close(_POLICY_VIOLATION, str(error))
    except WebSocketDisconnect:
        return
    except RuntimeError as error:
        # Starlette's way to say that the client went while something was sent to it
        if "websocket" not in str(error).lower():
            raise


async def _receive(websocket: WebSocket) -> Any:
    text = await _receive_text(websocket)
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _Refused("The message cannot be read as JSON.") from error


async def _receive_text(websocket: WebSocket) -> str | bytes:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message.get("text") or message.get("bytes") or b""


async def _send(websocket: WebSocket, message: Any) -> None:
    await websocket.send_text(msgspec.json.encode(message).decode())


@router.websocket("/events/in")
async def stream_events_in(websocket: WebSocket) -> None:
    """Take in events, one a message; there is no answer."""
    async with _accepted(websocket) as at:
        queue: asyncio.Queue[str | bytes | None] = asyncio.Queue(_QUEUED)
        writer = asyncio.create_task(_write_events(at, queue))
        try:
            while True:
                await queue.put(await _receive_text(websocket))
        finally:
            await queue.put(None)
            await writer  # what was taken in is written, even when the client has gone


async def _write_events(at: Context, queue: asyncio.Queue[str | bytes | None]) -> None:
    ended = False
    while not ended:
        texts = [await queue.get()]
        while len(texts) < _AT_ONCE and not queue.empty():
            texts.append(queue.get_nowait())
        ended = texts[-1] is None
        try:
            await run_in_threadpool(_take_events, at, [text for text in texts if text is not None])
        except Exception:  # noqa: BLE001  # one bad batch must not end the socket that brings the next
            _log.exception("%d events of a client could not be written and are lost.", len(texts))


def _take_events(at: Context, texts: list[str | bytes]) -> None:
    now_us = at.now_us()
    taken = []
    for text in texts:
        try:
            event = msgspec.json.decode(text)
            told = task_run_events.read(event)
            if not isinstance(event["event"], str) or not isinstance(event["resource"], dict):
                raise ValueError("an event has a name and a resource")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("An event of a client was passed over, it cannot be understood: %s", error)
            continue
        if told is not None:
            taken.append(told)
        at.feed.publish({**event, "received": iso(now_us)})
    if taken:
        at.database.write(lambda connection: task_run_events.take(connection, taken, now_us))


@router.websocket("/events/out")
async def stream_events_out(websocket: WebSocket) -> None:
    """Send the events that fit a filter: first those of the last moments, then new ones as they happen."""
    async with _accepted(websocket) as at:
        message = await _filter_message(websocket)
        try:
            wanted = event_filters.read(message.get("filter"))
        except ValueError as error:
            raise _Refused(f"The filter cannot be understood: {error}") from error
        with at.feed.listening() as listener:
            if message.get("backfill", True):
                await _send_events(websocket, wanted, at.feed.recent())
            gone = asyncio.create_task(_until_gone(websocket))
            try:
                await _stream(websocket, wanted, listener.take, gone)
            finally:
                gone.cancel()


async def _filter_message(websocket: WebSocket) -> dict[str, Any]:
    message = await _receive(websocket)
    if not isinstance(message, dict) or message.get("type") != "filter":
        raise _Refused("Expected a 'filter' message")
    return message


async def _stream(websocket: WebSocket, wanted: event_filters.EventFilter, take: Any, gone: Any) -> None:
    # News come after what was replayed; until then an event may be sent twice, and its id tells.
    while True:
        news = asyncio.ensure_future(take())
        await asyncio.wait((news, gone), return_when=asyncio.FIRST_COMPLETED)
        if not news.done():
            news.cancel()
            raise WebSocketDisconnect
        await _send_events(websocket, wanted, news.result())


async def _send_events(websocket: WebSocket, wanted: event_filters.EventFilter, events: list[Any]) -> None:
    for event in events:
        if event_filters.fits(wanted, event):
            await _send(websocket, {"type": "event", "event": event})


async def _until_gone(websocket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await _receive_text(websocket)


@router.websocket("/logs/out")
async def stream_logs_out(websocket: WebSocket) -> None:
    """Send the log lines that fit a filter, from the time it names on, as they come in."""
    async with _accepted(websocket) as at:
        message = await _filter_message(websocket)
        try:
            wanted = logs.wanted(LogFilter.model_validate(message.get("filter") or {}))
        except ValidationError as error:
            raise _Refused(f"The filter cannot be understood: {error.errors()[0]['msg']}") from error
        gone = asyncio.create_task(_until_gone(websocket))
        try:
            await _follow(websocket, at, wanted, gone)
        finally:
            gone.cancel()


async def _follow(websocket: WebSocket, at: Context, wanted: log_store.LogFilter, gone: Any) -> None:
    # Lines come in by pieces of journals, late and out of order: each look goes back a while over what was sent.
    sent: dict[str, None] = {}
    since = wanted.after_us if wanted.after_us is not None else at.now_us() - 60_000_000
    while not gone.done():
        lines = await run_in_threadpool(_lines_since, at, wanted._replace(after_us=since))
        for line in lines:
            if line.id not in sent:
                sent[line.id] = None
                await _send(websocket, {"type": "log", "log": logs.line_json(line)})
        if len(lines) == _LINES:
            since = max(since + 1, lines[-1].t)  # so many at once: no looking back, or it would never get on
            continue
        since = max([since, *(line.t - _BACK_US for line in lines[-1:])])
        while len(sent) > _REMEMBERED:
            del sent[next(iter(sent))]
        await asyncio.wait((gone,), timeout=_LOOK_FOR_LOGS_S)
    raise WebSocketDisconnect


_BACK_US = 10_000_000
_REMEMBERED = 50_000
_LINES = 10_000


def _lines_since(at: Context, wanted: log_store.LogFilter) -> list[log_store.LogLine]:
    with at.database.read() as connection:
        return log_store.query(connection, wanted, limit=_LINES)
