"""How the API answers: JSON written by msgspec, and the few bodies that many routes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import HTTPException
from starlette.responses import Response

LIMIT = 200
"""The most rows that one answer holds, and how many when the client does not say."""


class Json(Response):
    """An answer of plain values.

    Routes return it themselves: what the store gives is already as the contract has it, and checking a
    page of 200 runs once more would cost twenty times what it takes to write it.
    """

    media_type = "application/json"

    def __init__(self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status, dict(headers) if headers else None)

    def render(self, content: Any) -> bytes:
        """Return the body's bytes."""
        return msgspec.json.encode(content)


def no_content() -> Response:
    """Answer that it is done."""
    return Response(status_code=204)


def not_found(thing: str) -> HTTPException:
    """Return the error for a thing that is not there: ``Flow run not found``."""
    return HTTPException(404, f"{thing} not found")


def page_size(limit: int | None) -> int:
    """Return how many rows to give.

    Raises:
        HTTPException: 422, in the contract's words, for more than 200 or less than none.
    """
    if limit is None:
        return LIMIT
    if limit > LIMIT:
        raise HTTPException(422, f"Invalid limit: must be less than or equal to {LIMIT}.")
    if limit < 0:
        raise HTTPException(422, "Invalid limit: must be greater than or equal to 0.")
    return limit


def page(results: list[Any], *, count: int, limit: int, page: int) -> Json:
    """Answer one page of a list."""
    pages = -(-count // limit) if limit else 0
    return Json({"results": results, "count": count, "limit": limit, "pages": pages, "page": page})
