"""Taking in a piece of a journal: what is held already is passed over, the rest is folded in one transaction."""

from __future__ import annotations

import os
from types import ModuleType
from typing import NamedTuple

from sqlalchemy.engine import Connection

from headrace.errors import OffsetMismatch
from headrace.model.ids import IdFactory
from headrace.server.store import journals
from headrace.server.store.database import Database

from . import reach
from .intake import Intake
from .life import withdraw_presumptions
from .lines import Batch, read


class Taken(NamedTuple):
    """What taking in a piece of a journal came to."""

    held: int
    """Bytes of the journal that are held now."""
    openings: frozenset[str] = frozenset()
    """Ids of queues and deployments whose workers should look: room was made there, or work."""
    size: int = 0
    """Bytes that were not held before."""
    records: int = 0
    """Records that were not held before."""
    newest_us: int = 0
    """When the last of them was made, in microseconds since 1970; 0 when that cannot be read."""


def append(db: Database, journal_id: str, offset: int, data: bytes, *, now_us: int, leased: bool) -> Taken:
    """Take in bytes of a journal that begin at ``offset``; return how many bytes of it are held now.

    Sending the same bytes again changes nothing; an unfinished last line is not taken. ``leased`` says that
    the sender also polls for commands, so that its silence will mean something.

    Raises:
        OffsetMismatch: the journal is held only up to somewhere before ``offset``; ``expected`` says where.
        JournalError: ``journal_id`` is no id, the offset is negative, or the bytes are another journal's.
    """
    batch = read(journal_id, offset, data)  # outside the transaction: nobody waits for the decoding
    return db.write(lambda connection: _take(connection, db.kind, batch, now_us, leased))


def _take(connection: Connection, kind: ModuleType, batch: Batch, now_us: int, leased: bool) -> Taken:
    # a new journal's row is made first, so that two deliveries of it do not pass each other by
    row = (
        journals.begin(connection, kind, batch.journal, now_us)
        if batch.end > 0
        else journals.lock(connection, batch.journal)
    )
    held: int = row["offset"] if row is not None else 0
    if batch.offset > held:
        raise OffsetMismatch(batch.journal, batch.offset, held)
    presumed = [row] if row is not None and row["presumed"] is not None else []
    lines = [line for line in batch.lines if line[0] >= held] if batch.end > held else []
    known = reach.lock(connection, lines, presumed)
    if presumed:
        withdraw_presumptions(connection, presumed, known, now_us)
    if batch.end <= held:
        return Taken(held)
    intake = Intake(connection, kind, batch.journal, row, _ids.new)
    intake.take(lines, known)
    intake.save(batch.end, now_us, leased=leased)
    last = lines[-1][1] if lines else None
    return Taken(
        batch.end, frozenset(intake.openings), batch.end - held, len(lines), last.t if last is not None else 0
    )


_ids = IdFactory()
os.register_at_fork(after_in_child=_ids.reseed)
