"""Signs of life, and what their absence lets the server presume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from sqlalchemy.engine import Connection, RowMapping

from headrace.model import runs
from headrace.model.clock import iso
from headrace.model.ownership import is_silent
from headrace.server.store import journals
from headrace.server.store import runs as rows
from headrace.server.store.database import Database
from headrace.server.store.runs import Known

from . import aftermath

T = TypeVar("T")


def sign_of_life(db: Database, seen_us: Mapping[str, int]) -> None:
    """Note when leased journals were last alive, ``{id: when}``; what was presumed of their runs is taken back."""
    if seen_us:
        db.write(lambda connection: _note_alive(connection, seen_us))


def _note_alive(connection: Connection, seen_us: Mapping[str, int]) -> None:
    journals.saw(connection, seen_us)
    presumed = journals.presumed(connection, sorted(seen_us))
    if presumed:
        known = rows.load(connection, *(presumed_ids(presumed, kind) for kind in ("flow_runs", "task_runs")))
        withdraw_presumptions(connection, presumed, known, max(seen_us.values()))


def presumed_ids(presumed: Sequence[RowMapping], kind: str) -> list[str]:
    """Return the ids of runs (``flow_runs`` or ``task_runs``) that are presumed lost; given journals' rows."""
    return [id for row in presumed if row["presumed"] for id in row["presumed"][kind]]


def withdraw_presumptions(
    connection: Connection, presumed: Sequence[RowMapping], known: Mapping[str, Known], now_us: int
) -> None:
    """Take back what was presumed of journals' runs; given the journals' rows, and those runs among ``known``."""
    theirs = [
        (known[id], row["attempt"])
        for row in presumed
        for kind in ("flow_runs", "task_runs")
        for id in presumed_ids([row], kind)
        if id in known
    ]
    back = [one for one, attempt in theirs if runs.withdraw_lost(one.run, attempt)]
    rows.save_states(connection, back, now_us)
    for row in presumed:
        journals.set_presumed(connection, row["id"], None)


class Writes(Protocol):
    """A database, or what writes in it as long as it may."""

    def write(self, work: Callable[[Connection], T]) -> T:
        """Carry out a write in a transaction of its own."""


def presume_lost(
    db: Writes, journal: str, *, before_us: int, now_us: int, new_id: Callable[[int], str]
) -> int:
    """Presume every open run of a journal lost, unless it was seen since ``before_us``; return how many were.

    It ends nothing and kills nothing: the journal may go on, and its next sign of life takes it back.
    """
    return db.write(lambda connection: _presume_lost(connection, journal, before_us, now_us, new_id))


def _presume_lost(
    connection: Connection, journal: str, before_us: int, now_us: int, new_id: Callable[[int], str]
) -> int:
    row = journals.lock(connection, journal)
    if row is None or not is_silent(row["last_seen_us"], row["closed_us"], before_us):
        return 0  # it came back between the look and the lock
    last_seen, host = iso(row["last_seen_us"]), row["host"] or _whose(row)
    offset, attempt = row["offset"], row["attempt"]
    lost = [
        known
        for known in rows.open_runs(connection, journal)
        if runs.presume_lost(
            known.run,
            now=now_us,
            offset=offset,
            attempt=attempt,
            last_seen=last_seen,
            host=host,
            id=new_id(now_us),
        )
    ]
    aftermath.follow(connection, [one for one in lost if one.run.is_flow], {}, new_id, now_us)
    rows.save_states(connection, lost, now_us)
    ids: dict[str, list[str]] = {"flow_runs": [], "task_runs": []}
    for known in lost:
        ids["flow_runs" if known.run.is_flow else "task_runs"].append(known.run.id)
    # Noted even when no run was open, so that the journal is not looked at again with every tick.
    journals.set_presumed(connection, journal, ids)
    return len(lost)


def _whose(row: RowMapping) -> str:
    """Say who should have begun a journal that nobody wrote in."""
    return (
        f"unknown (worker {row['worker_name']!r} took the run and told nothing of it)"
        if row["worker_name"]
        else "unknown"
    )
