"""A run as its reports tell it: the fold of a journal.

The server, the supervisor and ``headrace journal show`` read journals with this one function, so they
cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from . import entries
from .ids import state_id_at
from .resolve import NOTHING, Rank, StateRow, Strength, merge_history, resolve, strength_of
from .states import DEFAULT_NAME, TERMINAL, is_over


class Run(msgspec.Struct):
    """A flow run or task run, folded from reports."""

    id: str
    is_flow: bool
    created: int
    """Microseconds since 1970, UTC, as all times here."""
    entry: entries.FlowRun | entries.TaskRun | None = None
    """How it was made; ``None`` when that record has not been seen (yet)."""
    state: StateRow | None = None
    strength: Strength = NOTHING
    history: list[StateRow] = []  # msgspec copies a default list for each instance
    run_count: int = 0
    """How often user code was begun in the current attempts."""
    start: int | None = None
    """When it first ran."""
    end: int | None = None
    """When it ended; ``None`` while it is open."""
    running_us: int = 0
    """Time spent in states of type RUNNING that are over."""

    @property
    def is_open(self) -> bool:
        """Whether the run has not ended."""
        return self.state is None or not is_over(self.state.type, self.state.name)


def report(run: Run, row: StateRow) -> bool:
    """Let a report speak about a run; return whether its state is now another."""
    merged = merge_history(run.history, row)
    resolution = resolve(run.strength, row)
    stands = resolution.stands or _wins_tie(run, row)
    if stands:
        run.state, run.strength = row, resolution.strength
    if stands or merged is not run.history:
        run.history = merged
        _retime(run)
    return stands


def _wins_tie(run: Run, row: StateRow) -> bool:
    # Two of the same strength: the later. Ids decide only between moments that are the same, since those of two
    # servers follow two clocks: a run that one has planned and the other gives away must not stay planned.
    if run.state is None or strength_of(row) != run.strength:
        return False
    return (row.t, row.id) > (run.state.t, run.state.id)


def _retime(run: Run) -> None:
    """Work out counts and times from the history, so that they do not depend on arrival order."""
    state = run.state
    assert state is not None
    run.run_count, run.running_us, run.start = 0, 0, None
    since: int | None = None
    goes_on = False
    ended = strength_end(run)
    for row in run.history:
        if row.rank == Rank.PRESUMPTION or row.attempt > state.attempt:
            continue
        if since is not None:
            run.running_us += max(0, row.t - since)
            since = None
        # Hosts' clocks differ: an older attempt's times say nothing about when this one ended.
        if row.type == "RUNNING" and (ended is None or row.attempt < state.attempt or row.t <= ended):
            run.start = row.t if run.start is None else run.start
            run.run_count += not goes_on
            since = row.t
        goes_on = _goes_on(row, goes_on)
    if state.rank == Rank.PRESUMPTION and since is not None:
        run.running_us += max(0, state.t - since)
    run.end = ended


def _goes_on(row: StateRow, so_far: bool) -> bool:
    """Say whether a run that is RUNNING after this state goes on after a pause, and does not begin again."""
    if row.type == "PAUSED" or row.name == "Resuming":
        return True
    return so_far and (row.type in ("RUNNING", "PENDING") or row.name in ("Late", "AwaitingConcurrencySlot"))


def strength_end(run: Run) -> int | None:
    """Return when the run ended, or ``None`` while its state is not terminal."""
    return run.state.t if run.state is not None and run.state.type in TERMINAL else None


class Journal(msgspec.Struct):
    """What the fold of one journal has seen so far."""

    id: str
    attempt: int = 1
    opened: entries.Open | None = None
    exit: entries.Exit | None = None
    runs: dict[str, Run] = {}  # msgspec copies a default dict for each instance
    missing: int = 0
    """Records that were counted as lost by their writer."""
    torn: int = 0
    """Lines that could not be read."""


def fold(journal: Journal, lines: Iterable[tuple[int, entries.Entry | None]]) -> Journal:
    """Fold ``(byte offset, record)`` pairs into ``journal`` and return it; ``None`` is a torn line."""
    for offset, entry in lines:
        apply(journal, offset, entry)
    return journal


def apply(journal: Journal, offset: int, entry: entries.Entry | None) -> Run | None:
    """Fold one record; return the run it speaks of, if it speaks of one."""
    kind = type(entry)
    if kind is entries.State or kind is entries.Verdict:
        return _apply_state(journal, offset, entry)  # type: ignore[arg-type]  # narrowed by identity, for speed
    if kind is entries.TaskRun or kind is entries.FlowRun:
        return _apply_created(journal, offset, entry)  # type: ignore[arg-type]
    if entry is None:
        journal.torn += 1
    elif isinstance(entry, entries.Missing):
        journal.missing += entry.records
    elif isinstance(entry, entries.Exit):
        journal.exit = entry
    elif isinstance(entry, entries.Open) and journal.opened is None:
        journal.opened, journal.attempt = entry, entry.attempt
    return None


def _apply_created(journal: Journal, offset: int, entry: entries.FlowRun | entries.TaskRun) -> Run:
    run = journal.runs.get(entry.run)
    if run is None:
        run = journal.runs[entry.run] = Run(entry.run, isinstance(entry, entries.FlowRun), entry.t)
    if run.entry is None:
        run.entry, run.created, run.is_flow = entry, entry.t, isinstance(entry, entries.FlowRun)
    if isinstance(entry, entries.FlowRun) and entry.planned and run.state is not None:
        run.entry = entry  # whoever planned it made it Pending; what its process knows better is told later
        return run
    report(
        run,
        StateRow(
            state_id_at(journal.id, offset), "PENDING", "Pending", entry.t, Rank.FACT, journal.attempt, offset
        ),
    )
    return run


def _apply_state(journal: Journal, offset: int, entry: entries.State | entries.Verdict) -> Run:
    run = journal.runs.get(entry.run)
    if run is None:  # its making was lost (disk full): what is known is still worth showing
        run = journal.runs[entry.run] = Run(entry.run, isinstance(entry, entries.Verdict), entry.t)
    elif run.entry is None:
        run.created = min(run.created, entry.t)
    fact = isinstance(entry, entries.State)
    report(
        run,
        StateRow(
            state_id_at(journal.id, offset),
            entry.type,
            entry.name or DEFAULT_NAME.get(entry.type, entry.type.capitalize()),
            entry.t,
            Rank.FACT if fact else Rank.VERDICT,
            journal.attempt,
            offset,
            entry.message,
            entry.details,
        ),
    )
    return run


def presume_lost(
    run: Run, *, now: int, offset: int, attempt: int, last_seen: str, host: str, id: str
) -> bool:
    """Report that a run has shown no sign of life for a lease; ``last_seen`` is a time of day for people.

    It is presumed to have crashed, or, when it had been asked to end, to have been cancelled. ``offset`` is how
    many bytes of its journal are known, for a run of which no record is.
    """
    # Just after what it doubts, not at the end of what is known: so that the same silence can be presumed,
    # withdrawn and presumed again, and each time the next record in the journal still stands above it.
    place = run.state.offset + 1 if run.state is not None else offset
    asked = run.state is not None and run.state.type == "CANCELLING"
    after = " after it was asked to end" if asked else ""
    message = (
        f"No sign of life since {last_seen} from host {host}{after}. This is a presumption: nothing was killed, "
        "and what the run reports later replaces it."
    )
    details = {"evidence": {"certainty": "presumed", "last_sign_of_life": last_seen, "host": host}}
    type, name = ("CANCELLED", "Cancelled") if asked else ("CRASHED", "Lost")
    return report(run, StateRow(id, type, name, now, Rank.PRESUMPTION, attempt, place, message, details))


def withdraw_lost(run: Run, attempt: int) -> bool:
    """Take a presumption back because an attempt's process has shown a sign of life; return whether the state changed.

    The strongest report that is no presumption stands again, with its own strength: however often a silence
    is presumed and withdrawn, the journal's next record still stands above it. The history keeps them all. What is
    presumed of another attempt stays: that an older one is alive says nothing about it.
    """
    others = [row for row in run.history if row.rank != Rank.PRESUMPTION]
    if run.state is None or run.state.rank != Rank.PRESUMPTION or run.state.attempt != attempt or not others:
        return False
    run.state = max(others, key=lambda row: (strength_of(row), row.id))
    run.strength = strength_of(run.state)
    _retime(run)
    return True
