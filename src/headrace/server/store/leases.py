"""Leases of loops that only one server at a time may turn: one row each, with a fence that grows with every holder."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple, cast

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from . import locks
from .tables import leases

_c = leases.c
_COUNT = {"preserve_rowcount": True}  # of an INSERT, SQLAlchemy forgets it otherwise


class Lease(NamedTuple):
    """A row of the table; the time in microseconds since 1970, UTC."""

    holder: str
    fence: int
    until_us: int


def get(connection: Connection, name: str) -> Lease | None:
    """Return a lease, or ``None`` when nobody ever held it."""
    row = connection.execute(select(_c.holder, _c.fence, _c.until_us).where(_c.name == name)).first()
    return None if row is None else Lease(*row)


def renew(connection: Connection, name: str, holder: str, fence: int, until_us: int) -> bool:
    """Hold a lease up to ``until_us``, or give it up by a time that has passed; return whether it was still held."""
    mine = (_c.name == name, _c.holder == holder, _c.fence == fence)
    return connection.execute(update(leases).where(*mine).values(until_us=until_us)).rowcount > 0


def take(
    connection: Connection, kind: ModuleType, name: str, holder: str, seen: Lease | None, until_us: int
) -> int | None:
    """Take a lease that was ``seen`` to be free; return the new fence, ``None`` when another was quicker."""
    row = {"name": name, "holder": holder, "fence": 1, "until_us": until_us}
    if seen is None:
        statement = kind.upsert(leases).values(**row).on_conflict_do_nothing()
        return 1 if connection.execute(statement, execution_options=_COUNT).rowcount > 0 else None
    as_seen = (_c.name == name, _c.fence == seen.fence, _c.until_us == seen.until_us)
    row["fence"] = seen.fence + 1
    taken = connection.execute(update(leases).where(*as_seen).values(**row)).rowcount > 0
    return cast("int", row["fence"]) if taken else None


def is_current(connection: Connection, name: str, fence: int) -> bool:
    """Say whether nobody has taken a lease since this fence was given; nobody can before the transaction ends."""
    statement = locks.shared(leases, select(_c.fence).where(_c.name == name))
    return connection.execute(statement).scalar() == fence
