"""One page of a long list, in order, without sorting what is not on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import BindParameter, Table, select, union_all
from sqlalchemy.engine import Connection
from sqlalchemy.sql import visitors

from .filters import Order, Where

Row = Mapping[str, Any]

_MERGED = 2_000
"""Up to which place in a list several states are merged from lists of their own; far behind, sorting costs less."""

_PARTS, _VALUES = 20, 500
"""How many states are merged at most, and how many values the filter may hold, which each of them repeats."""


def rows(
    connection: Connection,
    table: Table,
    where: Where,
    parts: Sequence[Where],
    order: Order,
    limit: int,
    offset: int,
) -> Sequence[Row]:
    """Return the rows of a table that fit, in order; ``parts`` split them so that an index serves each in order."""
    id, end = table.c.id, offset + limit
    if 1 < len(parts) <= _PARTS and end <= _MERGED and _values_in(where) <= _VALUES:
        # The first of each part in order, then the first of those: for several states at once no index has an
        # order, and sorting a million runs takes seconds.
        each = [select(id).where(where, part).order_by(*order).limit(end).subquery() for part in parts]
        where = id.in_(union_all(*(select(some.c.id) for some in each)))
    statement = select(table).where(where).order_by(*order).limit(limit).offset(offset)
    return cast("Sequence[Row]", connection.execute(statement).mappings().all())


def _values_in(where: Where) -> int:
    """Return how many values a condition holds, those of its lists one by one."""
    values = [part.value for part in visitors.iterate(where) if isinstance(part, BindParameter)]
    return sum(len(value) if isinstance(value, (list, tuple)) else 1 for value in values)
