"""How bodies are read: as strictly as a server must that strangers may write to, and with errors that name the field."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response

from .answers import Json

NESTING_LIMIT = 100
"""How deep lists and objects of a JSON body may be nested: what no honest client comes near."""

_ECHO_LIMIT = 10_000
_ERRORS_LIMIT = 50


class UnreadableBody(HTTPException):
    """A body that is not JSON as this server takes it; answered as a field that fails its check."""

    def __init__(self, kind: str, message: str, loc: tuple[str | int, ...] = ()) -> None:
        super().__init__(422, message)
        self.errors = [{"type": kind, "loc": ["body", *loc], "msg": message, "input": None}]


def unfit(where: tuple[str | int, ...], why: str, value: Any = None) -> RequestValidationError:
    """Return the error for a field of a body that fits its type and still cannot be taken: 422, naming it."""
    return RequestValidationError(
        [{"type": "value_error", "loc": ("body", *where), "msg": why, "input": value}]
    )


class StrictRequest(Request):
    """A request whose JSON is read by rules of ours: valid UTF-8, bounded depth, one value."""

    async def json(self) -> Any:
        """Return the decoded body.

        Raises:
            UnreadableBody: it is not JSON, or nested too deeply.
        """
        return read_json(await self.body())


def read_json(body: bytes) -> Any:
    """Decode JSON from outside.

    Raises:
        UnreadableBody: it is not JSON, not UTF-8, or nested more than ``NESTING_LIMIT`` deep.
    """
    try:
        value = msgspec.json.decode(body)
    except UnicodeDecodeError as error:
        message = f"The body is not valid UTF-8: {error.reason} in a text of it."
        raise UnreadableBody("utf8_invalid", message) from error
    except msgspec.DecodeError as error:
        raise UnreadableBody("json_invalid", f"The body cannot be read as JSON: {error}.") from error
    except RecursionError as error:
        raise _too_deep() from error
    if body.count(b"[") + body.count(b"{") > NESTING_LIMIT:
        _check_depth(value)
    return value


def _too_deep() -> UnreadableBody:
    return UnreadableBody("nesting_too_deep", f"The body is nested more than {NESTING_LIMIT} levels deep.")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(NESTING_LIMIT):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise _too_deep()


def _children(value: Any) -> list[Any]:
    if type(value) is dict:
        return list(value.values())
    return value if type(value) is list else []


class StrictRoute(APIRoute):
    """A route that reads its body by :class:`StrictRequest`."""

    def get_route_handler(self) -> Any:
        """Return the handler with its request replaced."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def add_error_answers(app: FastAPI) -> None:
    """Give the app the contract's bodies for invalid requests."""

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        errors = [
            {
                "type": each["type"],
                "loc": list(each["loc"]),
                "msg": each["msg"],
                "input": _echo(each.get("input")),
            }
            for each in error.errors()[:_ERRORS_LIMIT]
        ]
        return _unprocessable(errors, _echo(error.body))

    @app.exception_handler(UnreadableBody)
    async def _unreadable(_request: Request, error: UnreadableBody) -> Response:
        return _unprocessable(error.errors, None)


def _unprocessable(errors: list[dict[str, Any]], body: Any) -> Response:
    content = {
        "exception_message": "Invalid request received.",
        "exception_detail": errors,
        "request_body": body,
    }
    return Json(content, 422)


def _echo(value: Any) -> Any:
    """Return what was sent, for the error's reader; not when it is long or cannot be written as JSON."""
    if isinstance(value, bytes):
        return f"({len(value)} bytes that were not sent as application/json)"
    try:
        size = len(msgspec.json.encode(value))
    except (TypeError, ValueError, RecursionError):
        return None
    return value if size <= _ECHO_LIMIT else f"({size} bytes, not repeated here)"
