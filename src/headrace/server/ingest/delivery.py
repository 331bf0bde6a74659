"""Taking in pieces of journals: what is held already is passed over, the rest is folded, in one transaction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from sqlalchemy.engine import Connection, RowMapping

from headrace.errors import OffsetMismatch
from headrace.model.ids import IdFactory
from headrace.server.store import journals
from headrace.server.store.database import Database
from headrace.server.store.runs import Known

from . import reach
from .intake import Intake
from .life import withdraw_presumptions
from .lines import Batch, read
from .saving import save


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


class Delivery(NamedTuple):
    """A piece of a journal on its way in."""

    batch: Batch
    now_us: int
    """When it came, in microseconds since 1970."""
    leased: bool
    """Whether its sender also polls for commands, so that its silence will mean something."""


Outcome = Taken | OffsetMismatch


def append(db: Database, journal_id: str, offset: int, data: bytes, *, now_us: int, leased: bool) -> Taken:
    """Take in bytes of a journal that begin at ``offset``; return how many bytes of it are held now.

    Sending the same bytes again changes nothing; an unfinished last line is not taken. ``leased`` says that
    the sender also polls for commands, so that its silence will mean something.

    Raises:
        OffsetMismatch: the journal is held only up to somewhere before ``offset``; ``expected`` says where.
        JournalError: ``journal_id`` is no id, the offset is negative, or the bytes are another journal's.
    """
    # outside the transaction: nobody waits for the decoding
    delivery = Delivery(read(journal_id, offset, data), now_us, leased)
    [outcome] = db.write(lambda connection: take(connection, db.kind, [delivery]))
    if isinstance(outcome, OffsetMismatch):
        raise outcome
    return outcome


def take(connection: Connection, kind: ModuleType, deliveries: Sequence[Delivery]) -> list[Outcome]:
    """Take in pieces of different journals that tell of different runs; return what came of each, in their order.

    Each kind of row is locked for all of them before the next kind is: the server's one order (``store/locks.py``).
    """
    rows = _lock_journals(connection, kind, deliveries)
    parts = [_Part(one, rows.get(one.batch.journal)) for one in deliveries]
    due = [part for part in parts if part.mismatch is None]
    presumed = [part.row for part in due if part.row is not None and part.row["presumed"] is not None]
    known = reach.lock(connection, [line for part in due for line in part.lines], presumed)
    if presumed:
        withdraw_presumptions(connection, presumed, known, max(part.now_us for part in due))
    intakes = [part.fold(known) for part in due if part.is_new]
    save(connection, kind, intakes, _ids.new)
    return [part.outcome() for part in parts]


def _lock_journals(
    connection: Connection, kind: ModuleType, deliveries: Sequence[Delivery]
) -> dict[str, RowMapping]:
    # a new journal's row is made first, so that two deliveries of it do not pass each other by
    fresh = {one.batch.journal: one.now_us for one in deliveries if one.batch.offset == 0 < one.batch.end}
    return journals.begin(connection, kind, fresh, also=[one.batch.journal for one in deliveries])


class _Part:
    """One delivery's part of a transaction."""

    def __init__(self, delivery: Delivery, row: RowMapping | None) -> None:
        batch = delivery.batch
        self._delivery = delivery
        self._intake: Intake | None = None
        self._held: int = row["offset"] if row is not None else 0
        self.row = row
        self.now_us = delivery.now_us
        self.mismatch: OffsetMismatch | None = None
        if batch.offset > self._held:
            self.mismatch = OffsetMismatch(batch.journal, batch.offset, self._held)
        self.is_new = self.mismatch is None and batch.end > self._held
        """Whether it holds bytes that are not held yet."""
        self.lines = [line for line in batch.lines if line[0] >= self._held] if self.is_new else []

    def fold(self, known: dict[str, Known]) -> Intake:
        """Fold the lines that are new; ``known`` are the runs that any part tells of and that have a row."""
        batch = self._delivery.batch
        mine = {id: known[id] for id in reach.told(self.lines) if id in known}
        self._intake = Intake(batch.journal, self.row, batch.end, self.now_us, leased=self._delivery.leased)
        self._intake.take(self.lines, mine)
        return self._intake

    def outcome(self) -> Outcome:
        """Return what came of it, once it is saved."""
        if self.mismatch is not None:
            return self.mismatch
        if self._intake is None:
            return Taken(self._held)
        last = self.lines[-1][1] if self.lines else None
        end, openings = self._delivery.batch.end, frozenset(self._intake.openings)
        newest_us = last.t if last is not None else 0
        return Taken(end, openings, end - self._held, len(self.lines), newest_us)


_ids = IdFactory()
os.register_at_fork(after_in_child=_ids.reseed)
