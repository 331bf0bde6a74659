"""What the server holds of journals, and what it asks of the processes that write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from sqlalchemy import bindparam, case, insert, select, update
from sqlalchemy.engine import Connection, RowMapping

from headrace.client.port import Command

from . import locks
from .bulk import alike, update_many
from .tables import commands as commands_table
from .tables import journals


def offset(connection: Connection, journal: str) -> int:
    """Return how many bytes of a journal are held; 0 when it is not known."""
    return connection.execute(select(journals.c.offset).where(journals.c.id == journal)).scalar() or 0


def get(connection: Connection, journal: str) -> RowMapping | None:
    """Return a journal's row, ``None`` when it is not known."""
    return connection.execute(select(journals).where(journals.c.id == journal)).mappings().first()


def lock(connection: Connection, journal: str) -> RowMapping | None:
    """Return a journal's row and keep others from writing it until the transaction ends."""
    return connection.execute(_lock, {"wanted": journal}).mappings().first()


# Made once: to build a statement takes longer than to carry it out.
_lock = locks.held(journals, select(journals).where(journals.c.id == bindparam("wanted")))


def begin(
    connection: Connection, kind: ModuleType, fresh: Mapping[str, int], also: Sequence[str] = ()
) -> dict[str, RowMapping]:
    """Keep others from writing journals; return the rows of those that were there, by id.

    ``fresh`` are journals that get a row if they have none, ``{id: now}``; ``also`` are others. Two deliveries of a
    new journal, to two servers perhaps, meet here.

    Raises:
        LostRace: another transaction has just made the row of one.
    """
    wanted = sorted({*fresh, *also})
    rows = {row["id"]: row for row in connection.execute(_lock_all, {"wanted": wanted}).mappings()}
    new = [
        {"id": id, "offset": 0, "opened_us": now_us, "last_seen_us": now_us, "leased": False}
        for id, now_us in sorted(fresh.items())
        if id not in rows
    ]
    if new:
        made = connection.execute(_begin(kind), new, execution_options={"preserve_rowcount": True}).rowcount
        if made < len(new):
            raise locks.LostRace  # its row is to be locked in the order of ids, with the others
    return rows


_lock_all = locks.held(
    journals,
    select(journals).where(journals.c.id.in_(bindparam("wanted", expanding=True))).order_by(journals.c.id),
)


@cache
def _begin(kind: ModuleType) -> Any:
    return kind.upsert(journals).on_conflict_do_nothing()


def save(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write columns of journals that are there and that the transaction holds already."""
    for some in alike(rows):
        update_many(connection, journals, ("id",), some)


def saw(connection: Connection, seen_us: Mapping[str, int]) -> None:
    """Note that leased journals were alive: ``{id: when}``. One statement; it never goes back in time."""
    rows = [{"row": id, "at": at} for id, at in sorted(seen_us.items())]
    if rows:
        connection.execute(_saw, rows)


_later = bindparam("at", type_=journals.c.last_seen_us.type)
_saw = (
    update(journals)
    .where(journals.c.id == bindparam("row"), journals.c.closed_us.is_(None))
    .values(
        leased=True,
        last_seen_us=case((journals.c.last_seen_us < _later, _later), else_=journals.c.last_seen_us),
    )
)


def presumed(connection: Connection, ids: Sequence[str]) -> list[RowMapping]:
    """Return the rows of those journals of which runs are presumed lost."""
    wanted = journals.c.id.in_(ids), journals.c.presumed.is_not(None)
    return list(connection.execute(select(journals).where(*wanted)).mappings())


def lapsed(connection: Connection, before_us: int) -> list[RowMapping]:
    """Return leased journals that showed no sign of life since ``before_us`` and of which none is presumed yet.

    Walks ``ix_journals_leased``.
    """
    statement = select(journals).where(
        journals.c.leased, journals.c.closed_us.is_(None), journals.c.last_seen_us < before_us,
        journals.c.presumed.is_(None),
    )  # fmt: skip
    return list(connection.execute(statement).mappings())


def set_presumed(connection: Connection, journal: str, ids: Any) -> None:
    """Note which runs of a journal are presumed lost; ``None`` when none are any more."""
    connection.execute(update(journals).where(journals.c.id == journal).values(presumed=ids))


def add_command(
    connection: Connection,
    journal_id: str,
    *,
    action: str,
    flow_run_id: str,
    who: str | None,
    asked_us: int,
    payload: Any = None,
) -> int:
    """Ask something of the process that writes a journal; return the command's number."""
    statement = insert(commands_table).values(
        journal_id=journal_id,
        action=action,
        flow_run_id=flow_run_id,
        who=who,
        asked_us=asked_us,
        payload=payload,
    )
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return int(key[0])


def commands(connection: Connection, journal: str, after: int) -> list[Command]:
    """Return what is asked of a journal's process since command ``after``, oldest first.

    Walks ``ix_commands_journal``.
    """
    c = commands_table.c
    statement = (
        select(c.id, c.action, c.flow_run_id, c.who, c.asked_us, c.payload)
        .where(c.journal_id == journal, c.id > after)
        .order_by(c.id)
    )
    return [Command(*row) for row in connection.execute(statement)]


def acknowledge(connection: Connection, journal: str, reached_us: Mapping[str, int]) -> None:
    """Note when commands about flow runs reached the supervisor: ``{flow run id: when}``."""
    rows = [{"owner": journal, "about": id, "at": at} for id, at in sorted(reached_us.items())]
    if rows:
        c = commands_table.c
        locks.hold(connection, commands_table, c.journal_id == journal, c.acknowledged_us.is_(None))
        connection.execute(_acknowledge, rows)


_acknowledge = (
    update(commands_table)
    .where(
        commands_table.c.journal_id == bindparam("owner"),
        commands_table.c.flow_run_id == bindparam("about"),
        commands_table.c.acknowledged_us.is_(None),
    )
    .values(acknowledged_us=bindparam("at"))
)
