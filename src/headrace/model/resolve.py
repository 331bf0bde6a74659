"""Which report about a run stands: the rule of ranks, as one pure function.

Reports come late, twice and in any order. Each has a *strength*, a tuple that is compared whole, and the
strongest stands; so the state is a join, and every order of delivery ends in the same one:

======  ============================  ==========================================================
level   report                        order within the level
======  ============================  ==========================================================
5       a forced proposal             the latest: a person decided, and may decide again
4       a fact that ends the run      the first in the journal: what ended has ended
3       a verdict                     the first in the journal
2       an accepted request to cancel  the first; that it *was* cancelled beats that it is asked to be
1       a fact that does not end it   the latest in the journal
1       a presumption                 beats only facts that were known when it was made
======  ============================  ==========================================================

Before all that stands the attempt: a newer one outranks every older one. Between two reports of the same
strength the later decides, then the greater id (:func:`.runs.report`), so that not even a tie depends on who
came first.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import msgspec

from .entries import Json
from .states import TERMINAL


class Rank(IntEnum):
    """Who speaks about a run; ``VERDICTS.md`` calls a higher rank the stronger one."""

    PRESUMPTION = 0
    """The server: no sign of life for a whole lease."""
    VERDICT = 1
    """The supervisor: it saw the process end."""
    FACT = 2
    """The run's own process wrote it."""
    PROPOSAL = 3
    """A person or a foreign client asked, and the rules of the contract accepted."""
    FORCED = 4
    """As a proposal, with ``force``."""


class StateRow(msgspec.Struct, array_like=True, omit_defaults=True):
    """One state of a run with where it comes from: an element of a run's history."""

    id: str
    type: str
    name: str
    t: int
    """Microseconds since 1970, UTC: when it happened, by the reporter's clock."""
    rank: int = Rank.FACT
    attempt: int = 1
    offset: int = 0
    """The record's place in the journal; for a presumption, just after the record that it doubts."""
    message: str | None = None
    details: Json | None = None


class Strength(NamedTuple):
    """How strong a report is; the greater one stands."""

    attempt: int
    level: int
    order: int


NOTHING = Strength(0, 0, 0)
"""Weaker than any report."""


def strength_of(row: StateRow) -> Strength:
    """Return a report's strength by the table above."""
    if row.rank == Rank.FORCED:
        return Strength(row.attempt, 5, row.t)
    if row.rank == Rank.FACT and row.type in TERMINAL:
        return Strength(row.attempt, 4, -row.offset)
    if row.rank == Rank.VERDICT:
        return Strength(row.attempt, 3, -row.offset)
    if row.rank in (Rank.PROPOSAL, Rank.PRESUMPTION) and row.type in _CANCEL:
        return Strength(row.attempt, 2, (_CANCELLED if row.type == "CANCELLED" else 0) - row.t)
    # A presumption at offset N beats records that begin before N and yields to any that begins there.
    return Strength(row.attempt, 1, 2 * row.offset + (row.rank != Rank.PRESUMPTION))


_CANCEL = frozenset(("CANCELLING", "CANCELLED"))
_CANCELLED = 1 << 62  # greater than any moment, and still within 64 bits


class Resolution(NamedTuple):
    """What a report does to a run."""

    stands: bool
    """Whether the report is the run's state now; otherwise it belongs to the history alone."""
    strength: Strength
    """The strength of whatever stands now."""


def resolve(current: Strength, report: StateRow) -> Resolution:
    """Decide whether ``report`` replaces what stands with strength ``current``."""
    strength = strength_of(report)
    if strength > current:
        return Resolution(True, strength)
    return Resolution(False, current)


HISTORY_LIMIT = 100
"""States kept with a run. Past it the middle goes: the beginning and the end explain a run."""


def merge_history(history: list[StateRow], row: StateRow) -> list[StateRow]:
    """Return the history with ``row`` in its place; the same row twice changes nothing.

    The order is by attempt, time and id, so that it does not depend on the order of arrival.
    """
    for known in reversed(history):  # a loop: every state that is taken in comes through here
        if row.id == known.id:
            return history
    if history and history_order(history[-1]) < history_order(row):
        merged = [*history, row]
    else:
        merged = sorted([*history, row], key=history_order)
    if len(merged) > HISTORY_LIMIT:
        head = HISTORY_LIMIT // 5
        merged = merged[:head] + merged[-(HISTORY_LIMIT - head) :]
    return merged


def history_order(row: StateRow) -> tuple[int, int, int, str]:
    """Return the key by which a history is sorted."""
    return (row.attempt, row.t, row.offset, row.id)
