"""The three ways to list what is kept of one kind: those that fit, how many, and a page of them."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from sqlalchemy.engine import Connection
from starlette.responses import Response

from headrace.server.store.filters import Scope

from .answers import Json, page, page_size
from .context import Context


class Kept(Protocol):
    """Where things of one kind are kept: a module of the store."""

    def find(
        self, connection: Connection, scope: Scope, *, sort: str, limit: int, offset: int, now_us: int
    ) -> list[dict[str, Any]]:
        """Return those that fit, in order."""

    def count(self, connection: Connection, scope: Scope) -> int:
        """Return how many fit."""


class _Ordered(Protocol):
    @property
    def sort(self) -> Enum: ...
    @property
    def limit(self) -> int | None: ...


class Wanted(_Ordered, Protocol):
    """What a list is asked for with."""

    @property
    def offset(self) -> int:
        """How many are passed over."""


class WantedPage(_Ordered, Protocol):
    """What a page is asked for with."""

    @property
    def page(self) -> int:
        """Its number, from 1."""


def some(at: Context, kept: Kept, scope: Scope, query: Wanted) -> Response:
    """Answer those that fit."""
    limit = page_size(query.limit)
    with at.database.read() as connection:
        found = kept.find(
            connection, scope, sort=query.sort.value, limit=limit, offset=query.offset, now_us=at.now_us()
        )
    return Json(found)


def count(at: Context, kept: Kept, scope: Scope) -> Response:
    """Answer how many fit."""
    with at.database.read() as connection:
        return Json(kept.count(connection, scope))


def one_page(at: Context, kept: Kept, scope: Scope, query: WantedPage) -> Response:
    """Answer a page of those that fit, and how many there are in all."""
    limit = page_size(query.limit)
    offset = (query.page - 1) * limit
    with at.database.read() as connection:
        fitting = kept.count(connection, scope)
        found = kept.find(
            connection, scope, sort=query.sort.value, limit=limit, offset=offset, now_us=at.now_us()
        )
    return page(found, count=fitting, limit=limit, page=query.page)
