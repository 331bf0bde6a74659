"""Ship journals to a server over HTTP: the supervisor's port, one attempt a call."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from headrace.errors import ApiError, ObjectNotFound, OffsetMismatch, ServerUnavailable
from headrace.settings import Settings

from .connection import Connection
from .polling import Polling
from .port import Command

_COMPRESS_FROM = 4096
"""Bytes: below it a request fits in few packets anyway, and compressing costs more than it spares."""

_POLL_SLACK_S = 10.0
"""How much longer than its ``wait`` a poll may take before the way to the server counts as cut."""


class HttpJournals:
    """The journal port of :mod:`headrace.client.port` over HTTP. Thread-safe.

    Nothing is tried twice here: the supervisor has its own patience, and each of its attempts may carry more.
    """

    def __init__(self, settings: Settings, url: str, *, connection: Connection | None = None) -> None:
        self._connection = connection or Connection(settings, url)
        self._polling = Polling()

    def offset(self, journal: str) -> int:
        """Return how many bytes of the journal the server holds; 0 when it does not know it."""
        try:
            answer = self._connection.request("GET", f"/journals/{journal}", retries=0)
        except ObjectNotFound:
            return 0
        return _offset_in(_body(answer.content))

    def append(self, journal: str, offset: int, data: bytes) -> int:
        """Hand over whole lines from byte ``offset``; return how many bytes the server holds now.

        Raises:
            OffsetMismatch: the server's copy ends before ``offset``.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if len(data) > _COMPRESS_FROM:
            data, headers["Content-Encoding"] = _gzip(data), "gzip"
        try:
            answer = self._connection.request(
                "PUT",
                f"/journals/{journal}",
                params={"offset": offset},
                content=data,
                headers=headers,
                retries=0,
            )
        except ApiError as error:
            expected = error.body.get("offset") if isinstance(error.body, dict) else None
            if error.status == 409 and isinstance(expected, int):
                raise OffsetMismatch(journal, offset, expected) from error
            raise
        return _offset_in(_body(answer.content))

    def commands(self, journal: str, *, after: int, wait: float) -> list[Command]:
        """Return commands newer than ``after``, waiting up to ``wait`` seconds on the server for one."""
        return self._polling.ask(wait, lambda seconds: self._poll(journal, after, seconds), [])

    def _poll(self, journal: str, after: int, wait: float) -> list[Command]:
        answer = self._connection.request(
            "GET",
            f"/journals/{journal}/commands",
            params={"after": after, "wait": wait},
            timeout=wait + _POLL_SLACK_S,
            retries=0,
        )
        try:
            return msgspec.json.decode(answer.content, type=list[Command])
        except msgspec.DecodeError as error:
            raise _garbled(error) from error

    def close(self) -> None:
        """Give connections back."""
        self._connection.close()


def _gzip(data: bytes) -> bytes:
    # Level 1: a journal shrinks to about a seventh at 100 MB/s; level 6 gains a tenth more for four times the time.
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(data) + packer.flush()


def _body(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise _garbled(error) from error


def _offset_in(body: Any) -> int:
    offset = body.get("offset") if isinstance(body, dict) else None
    if not isinstance(offset, int) or offset < 0:
        raise _garbled("it names no offset")
    return offset


def _garbled(error: object) -> ServerUnavailable:
    return ServerUnavailable(
        f"The answer does not come from a Headrace server ({error}): a proxy or a login page may stand before it. "
        "The journal stays on this host and is shipped later."
    )
