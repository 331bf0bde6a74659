"""What every request passes: who asks, in which version, how much at once, and what an error looks like."""

from __future__ import annotations

import base64
import hmac
import logging

from fastapi import HTTPException
from sqlalchemy.exc import IntegrityError, TimeoutError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.wire import versions

from .api.answers import Json
from .store.database import Database

_log = logging.getLogger("headrace.server")

OPEN_PATHS = frozenset(("/api/health", "/api/ready"))
"""Answered without authentication: what a load balancer asks."""


class Gate:
    """Let a request in, or answer for the server: auth, version, size, and whatever went wrong inside."""

    def __init__(self, app: ASGIApp, *, database: Database, auth_string: str, body_limit: int) -> None:
        self._app = app
        self._database = database
        self._accepted = _accepted(auth_string)
        self._body_limit = body_limit
        self._oldest = versions.parse(versions.OLDEST_API_VERSION)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope["path"], Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, self._bounded(receive), send_on)
        except ClientDisconnect:
            # Half of a request is none, and there is nobody to answer: they come again.
            _log.debug("%s %s was not sent to its end", scope["method"], scope["path"])
        except Exception as error:
            if started:
                raise
            answer = self._answer_for(error, f"{scope['method']} {scope['path']}")
            await answer(scope, receive, send)

    def _refuse(self, path: str, headers: Headers) -> Response | None:
        if self._accepted and path not in OPEN_PATHS and not self._knows(headers.get("authorization", "")):
            return Json({"exception_message": "Unauthorized"}, 401)
        if "\x00" in path:  # no name holds one, and PostgreSQL cannot even be asked
            return Json({"detail": "Not found: a path cannot hold the NUL character."}, 404)
        version = headers.get(versions.API_VERSION_HEADER)
        if version is not None and (why := self._too_old(version)):
            return Json({"detail": why}, 400)
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._body_limit:
            return Json({"detail": self._too_large()}, 413)
        return None

    def _knows(self, given: str) -> bool:
        return any(hmac.compare_digest(given.encode(), known) for known in self._accepted)

    def _too_old(self, text: str) -> str | None:
        try:
            asked = versions.parse(text)
        except ValueError:
            return (
                f"Invalid X-PREFECT-API-VERSION header format: {text!r}. It must be three numbers with dots "
                f"between, such as {versions.API_VERSION}."
            )
        if asked >= self._oldest:
            return None
        return (
            f"The client asks for API version {text}; this server speaks {versions.API_VERSION} and none older "
            f"than {versions.OLDEST_API_VERSION}. Upgrade the client."
        )

    def _too_large(self) -> str:
        return (
            f"The request body is larger than {self._body_limit} bytes. Send less at once, or raise "
            "HEADRACE_SERVER_BODY_LIMIT on the server."
        )

    def _bounded(self, receive: Receive) -> Receive:
        taken = 0

        async def receive_some() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._body_limit:
                raise HTTPException(413, self._too_large())
            return message

        return receive_some

    def _answer_for(self, error: Exception, request: str) -> Response:
        if self._database.is_passing(error) or isinstance(error, TimeoutError):
            _log.warning("%s was answered with 503: the database is busy (%s)", request, error)
            return Json({"exception_message": "Service Unavailable"}, 503, {"Retry-After": "1"})
        if self._database.is_refused(error):
            _log.error("%s was answered with 503: the database takes no writes (%s)", request, error)
            return Json({"exception_message": "Service Unavailable"}, 503, {"Retry-After": "10"})
        if isinstance(error, IntegrityError):
            _log.info("%s was answered with 409: %s", request, error.orig)
            return Json(
                {"detail": "Data integrity conflict: it refers to what is not there, or exists."}, 409
            )
        if self._database.is_too_much(error):
            return Json({"detail": "The filters list too many values. Ask for fewer at once."}, 422)
        _log.error("%s was answered with 500", request, exc_info=error)
        return Json({"exception_message": "Internal Server Error"}, 500)


def _accepted(auth_string: str) -> tuple[bytes, ...]:
    if not auth_string:
        return ()
    encoded = base64.b64encode(auth_string.encode())
    return (b"Basic " + encoded, b"Bearer " + auth_string.encode())
