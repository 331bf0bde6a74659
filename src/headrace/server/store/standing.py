"""How the tables of a database stand to this code: whether it may work on them, and what has to be done first."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

UNFINISHED = "+copy"
"""Behind the revision of a database into which a copy is being made: nobody may work on it yet."""

_OURS = re.compile(r"\d{4}")
"""A revision as Headrace numbers them: later ones compare greater."""


class Stamp(NamedTuple):
    """What a database says of its tables."""

    revision: str
    """The newest migration that was applied."""
    serves_since: str | None = None
    """The revision of the oldest code that may still work on them; ``None``: it is too old to say so."""


class Standing(Enum):
    """What code is to make of a database that it meets."""

    ABSENT = "there are no tables of Headrace"
    OLDER = "migrations are missing without which this code cannot work"
    WAITING = "this code can work; post migrations are to come, when no older code works here any more"
    CURRENT = "the tables are those of this code"
    NEWER = "newer code has added to the tables, and this code can go on"
    OUTGROWN = "newer code has changed the tables, and this code cannot work on them any more"
    COPYING = "a copy is being made into this database"

    @property
    def fits(self) -> bool:
        """Whether this code may work on the tables as they are."""
        return self in (Standing.WAITING, Standing.CURRENT, Standing.NEWER)


def compare(stamp: Stamp | None, *, needed: str, head: str) -> Standing:
    """Say how a database stands to code that needs the migrations up to ``needed`` and knows those up to ``head``."""
    if stamp is None:
        return Standing.ABSENT
    if stamp.revision.endswith(UNFINISHED):
        return Standing.COPYING
    if _OURS.fullmatch(stamp.revision) and stamp.revision <= head:
        return _of_known(stamp.revision, needed, head)
    return Standing.NEWER if stamp.serves_since and stamp.serves_since <= head else Standing.OUTGROWN


def _of_known(revision: str, needed: str, head: str) -> Standing:
    if revision < needed:
        return Standing.OLDER
    return Standing.CURRENT if revision == head else Standing.WAITING
