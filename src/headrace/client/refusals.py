"""What went wrong with a request, said so that a person knows what to do next."""

from __future__ import annotations

from typing import Any

import httpx

from headrace.errors import ApiError, ObjectAlreadyExists, ObjectNotFound, ServerUnavailable

PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Statuses that say nothing against the request itself: the same one may do later."""


def unanswered(error: httpx.TransportError, server: str, advice: str) -> ServerUnavailable:
    """Return the error for a request that got no answer; ``advice`` says where the server's URL comes from."""
    return ServerUnavailable(f"No answer from {server}: {_reason(error)}. {advice}")


def refused(response: httpx.Response, server: str, advice: str) -> ApiError:
    """Return the error for an answer of status 3xx to 5xx; ``server`` is what people call it."""
    named = server[0].upper() + server[1:]
    body = decoded(response)
    status = response.status_code
    asked = f"{response.request.method} {response.request.url.path}"
    if status in PASSING:
        return ServerUnavailable(
            f"{named} cannot answer now (status {status} to {asked}{_because(body)}). "
            "Try again in a moment; if it stays so, look at the server's log.",
            status=status,
            body=body,
        )
    if status == 401 or (status == 403 and not _because(body)):
        return ApiError(
            f"{named} does not let us in (status {status} to {asked}). Set HEADRACE_API_AUTH_STRING to "
            "user:password, or HEADRACE_API_KEY, as the server's owner told you.",
            status=status,
            body=body,
        )
    if 300 <= status < 400:
        target = response.headers.get("location", "another address")
        return ApiError(
            f"{named} sends us on to {target}. Set HEADRACE_API_URL to the address that answers itself.",
            status=status,
            body=body,
        )
    if status == 404 and not isinstance(body, dict):
        return not_the_api(response, server, advice)
    kind = {404: ObjectNotFound, 409: ObjectAlreadyExists}.get(status, ApiError)
    return kind(f"{asked} was refused with status {status}{_because(body)}.", status=status, body=body)


def not_the_api(response: httpx.Response, server: str, advice: str) -> ApiError:
    """Return the error for an answer that no server of ours would give."""
    return ApiError(
        f"What answers for {server} is not a Headrace API (status {response.status_code} to "
        f"{response.request.method} {response.request.url.path}). The URL usually ends in /api. {advice}",
        status=response.status_code,
        body=response.text[:1000],
    )


def decoded(response: httpx.Response) -> Any:
    """Return an answer's JSON, or its first 1,000 characters when it is something else."""
    try:
        return response.json()
    except ValueError:
        return response.text[:1000]


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "connecting took too long"
    if isinstance(error, httpx.TimeoutException):
        return "it took too long (setting api_request_timeout)"
    text = str(error) or type(error).__name__
    return "connection refused" if "refused" in text.lower() else text


def _because(body: Any) -> str:
    """Return ``: reason`` from any of the contract's error bodies, or nothing."""
    if not isinstance(body, dict):
        return ""
    found = body.get("exception_detail") or body.get("detail") or body.get("exception_message")
    if isinstance(found, list):
        found = "; ".join(_field(part) for part in found[:5])
    return f": {str(found).rstrip('.')}" if found else ""


def _field(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    place = ".".join(str(step) for step in part.get("loc", ()) if step != "body")
    return f"{place}: {part.get('msg', '')}" if place else str(part.get("msg", ""))
