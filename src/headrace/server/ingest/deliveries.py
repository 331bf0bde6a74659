"""Small deliveries that come at one time are taken in together: one set of statements, one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.server.store.database import Database
from headrace.server.store.together import Together

from . import reach
from .delivery import Delivery, Outcome, Taken, take
from .lines import read

SMALL = 64 * 1024
"""Bytes: what is larger is taken in by itself, so that nobody waits for the folding of thousands of lines."""

PATIENCE_S = 0.025
"""How long a delivery waits for those before it: several times what taking in a dozen of them takes."""


class Deliveries:
    """Takes in pieces of journals for the threads of a server. Supervisors are many, and most have little to tell."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together: Together[Delivery, Outcome | Exception] = Together(PATIENCE_S)

    def append(self, journal_id: str, offset: int, data: bytes, *, now_us: int, leased: bool) -> Taken:
        """Do as :func:`~.delivery.append` does, which says what is raised."""
        delivery = Delivery(read(journal_id, offset, data), now_us, leased)
        if len(data) > SMALL:
            [outcome] = self._settled([delivery])
        else:
            outcome = self._together.carry_out("small", delivery, self._take_all)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _take_all(self, deliveries: Sequence[Delivery]) -> list[Outcome | Exception]:
        """Return what came of each: ``deliveries`` may be of one journal, or tell of the same runs."""
        outcomes: dict[int, Outcome | Exception] = {}
        waiting = list(enumerate(deliveries))
        while waiting:
            now, waiting = _apart(waiting)
            came = self._settled([delivery for _, delivery in now])
            outcomes |= dict(zip((number for number, _ in now), came, strict=True))
        return [outcomes[number] for number in range(len(deliveries))]

    def _settled(self, deliveries: list[Delivery]) -> list[Outcome | Exception]:
        """Take deliveries in; what cannot be taken in harms none that came with it."""
        try:
            return [*self._take(deliveries)]
        except Exception as error:  # noqa: BLE001  # it belongs to who sent what it is about
            if len(deliveries) == 1 or self._database.is_passing(error):
                return [error] * len(deliveries)
        return [self._settled([one])[0] for one in deliveries]

    def _take(self, deliveries: list[Delivery]) -> list[Outcome]:
        database = self._database
        return database.write(lambda connection: take(connection, database.kind, deliveries))


_Numbered = list[tuple[int, Delivery]]


def _apart(deliveries: _Numbered) -> tuple[_Numbered, _Numbered]:
    """Return those that have nothing in common, each the first of its journal, and those that have to wait for them."""
    now: _Numbered = []
    later: _Numbered = []
    met: set[str] = set()
    for number, one in deliveries:
        about = {one.batch.journal} | reach.told(one.batch.lines)
        (now if met.isdisjoint(about) else later).append((number, one))
        met |= about
    return now, later
