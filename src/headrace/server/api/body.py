"""How bodies are read: as strictly as a server must that strangers may write to, and with errors that name the field."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from . import document
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
    """A route whose parameter ``body`` is read by :func:`read_json` and checked where the endpoint runs.

    FastAPI would do both on the event loop, and would build a validator for every body and answer at the start:
    a quarter of the time until a server is healthy. Here each is built when it is first needed.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = options.setdefault("openapi_extra", None) or {}
        signature = inspect.signature(endpoint, eval_str=True)
        given = signature.parameters.get("body")
        self._takes_body = given is not None
        if given is not None:
            required = given.default is inspect.Parameter.empty
            extra = {"requestBody": document.body(given.annotation, required=required), **extra}
            endpoint = _with_body(endpoint, signature, _Body(given.annotation, required))
        options["openapi_extra"] = {**_answers(options), **extra}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return the handler; before it, the body is received."""
        handle = super().get_route_handler()
        if not self._takes_body:
            return handle

        async def receive_first(request: Request) -> Response:
            request.scope[_BODY] = await request.body()
            return await handle(request)

        return receive_first


_BODY = "headrace.body"


def _answers(options: dict[str, Any]) -> dict[str, Any]:
    """Take the types of the answers out of a route's options, and return how the document describes them."""
    kinds = {str(options.get("status_code") or 200): options.get("response_model")}
    for status, told in (options.get("responses") or {}).items():
        kinds[str(status)] = told.get("model")
    options["response_model"] = options["responses"] = None
    known = {status: document.answer(kind) for status, kind in kinds.items() if _is_type(kind)}
    return {"responses": known} if known else {}


def _is_type(kind: Any) -> bool:
    # FastAPI marks "not said" with an object of its own, and takes the endpoint's Response for a type
    return kind is not None and type(kind).__name__ != "DefaultPlaceholder" and kind is not Response


class _Body:
    """How the body of one operation is checked; the validator is built with the first one that comes."""

    def __init__(self, kind: Any, required: bool) -> None:
        self._kind = kind
        self._required = required
        self._adapter: TypeAdapter[Any] | None = None

    def read(self, request: Request) -> Any:
        """Return the checked body, ``None`` when there is none and none is needed.

        Raises:
            UnreadableBody: it is not JSON.
            RequestValidationError: it is not what the operation takes; every field is named.
        """
        raw: bytes = request.scope[_BODY]
        if not raw and not self._required:
            return None
        if not raw or not _is_json(request):
            kind, why = ("missing", "Field required") if not raw else ("not_json", _NOT_JSON)
            raise RequestValidationError(
                [{"type": kind, "loc": ("body",), "msg": why, "input": None}], body=raw
            )
        value = read_json(raw)
        if self._adapter is None:
            self._adapter = TypeAdapter(self._kind)
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
            raise RequestValidationError(errors, body=value) from error


_NOT_JSON = "The body is not sent as application/json; say so in its Content-Type."


def _is_json(request: Request) -> bool:
    # A web page of a stranger can send text/plain without asking: what is not declared as JSON is not read as JSON.
    kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _with_body(endpoint: Callable[..., Any], signature: inspect.Signature, body: _Body) -> Callable[..., Any]:
    """Return the endpoint as FastAPI is to see it: without its body, which is read when it is called."""
    wants_request = "request" in signature.parameters

    def arguments(request: Request, others: dict[str, Any]) -> dict[str, Any]:
        return {**others, **({"request": request} if wants_request else {}), "body": body.read(request)}

    if inspect.iscoroutinefunction(endpoint):

        async def call_async(request: Request, **others: Any) -> Any:
            return await endpoint(**arguments(request, others))

        call: Callable[..., Any] = call_async
    else:

        def call_sync(request: Request, **others: Any) -> Any:
            return endpoint(**arguments(request, others))

        call = call_sync
    seen = [each for name, each in signature.parameters.items() if name not in ("body", "request")]
    asks = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Request)
    call.__name__, call.__doc__, call.__module__ = endpoint.__name__, endpoint.__doc__, endpoint.__module__
    call.__signature__ = signature.replace(parameters=[asks, *seen])  # type: ignore[attr-defined]  # read by inspect
    return call


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
