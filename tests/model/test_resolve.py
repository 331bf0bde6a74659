"""The rule of ranks: whatever order reports come in, however often, the same one stands."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model import runs
from headrace.model.resolve import (
    HISTORY_LIMIT,
    NOTHING,
    Rank,
    StateRow,
    history_order,
    merge_history,
    resolve,
    strength_of,
)
from headrace.model.runs import Run
from headrace.model.states import TERMINAL

from .strategies import MINUTE, START, reports


def told(rows: list[StateRow]) -> Run:
    """Return the run that these reports make, in this order."""
    run = Run("run", True, START)
    for row in rows:
        runs.report(run, row)
    return run


def row(
    type: str, offset: int, rank: Rank = Rank.FACT, *, attempt: int = 1, at: int = 0, name: str = ""
) -> StateRow:
    """Return a report; its id is its content, its time ``at`` seconds after the start."""
    id = f"{attempt}-{rank}-{type}-{offset}-{at}"
    return StateRow(id, type, name or type.title(), START + at * 1_000_000, rank, attempt, offset)


# What is promised for any order of anything


@given(reports(), st.data())
def test_any_order_and_any_repetition_of_reports_makes_the_same_run(
    rows: list[StateRow], data: st.DataObject
) -> None:
    """State, strength, history, counts and times are a join: they do not know how the reports travelled."""
    repeated = rows + data.draw(st.lists(st.sampled_from(rows), max_size=len(rows)))
    shuffled = data.draw(st.permutations(repeated))

    assert told(rows) == told(shuffled)


@given(reports())
def test_the_report_that_stands_is_the_one_that_the_table_of_verdicts_names(rows: list[StateRow]) -> None:
    """The rule, said a second time and in other words, names the same report."""
    assert earned(rows).id == told(rows).state.id  # type: ignore[union-attr]


def earned(rows: list[StateRow]) -> StateRow:
    """Return the report that stands, found by reading VERDICTS.md from top to bottom."""
    newest = max(row.attempt for row in rows)
    rows = [row for row in rows if row.attempt == newest]

    def of(rank: Rank, *types: str) -> list[StateRow]:
        return [row for row in rows if row.rank == rank and (not types or row.type in types)]

    if forced := of(Rank.FORCED):
        return max(forced, key=lambda row: (row.t, row.id))
    if ends := of(Rank.FACT, *TERMINAL):
        return min(ends, key=lambda row: row.offset)
    if verdicts := of(Rank.VERDICT):
        return min(verdicts, key=lambda row: row.offset)
    for type in ("CANCELLED", "CANCELLING"):
        if asked := of(Rank.PROPOSAL, type):
            first = min(row.t for row in asked)
            return max((row for row in asked if row.t == first), key=lambda row: row.id)
    latest = max(of(Rank.FACT), key=lambda row: row.offset)
    doubts = [row for row in of(Rank.PRESUMPTION) if row.offset > latest.offset]
    return max(doubts, key=lambda row: (row.offset, row.id), default=latest)


@given(reports())
def test_a_fact_that_ended_a_run_is_never_replaced_but_by_force_or_a_new_attempt(
    rows: list[StateRow],
) -> None:
    """Whoever is late finds the run's own word standing."""
    state = told(rows).state
    newest = max(row.attempt for row in rows)
    own_ends = [r for r in rows if r.attempt == newest and r.rank == Rank.FACT and r.type in TERMINAL]
    forced = [r for r in rows if r.attempt == newest and r.rank == Rank.FORCED]

    assert not own_ends or forced or own_ends[0] == state


@given(reports())
def test_counts_and_times_are_those_of_the_history(rows: list[StateRow]) -> None:
    """A run has an end exactly when its state is terminal, and never ran longer than it was open."""
    run = told(rows)
    begun = [row.t for row in run.history if row.type == "RUNNING"]

    assert (run.end is not None) == (run.state.type in TERMINAL)  # type: ignore[union-attr]
    assert run.run_count <= len(begun)
    assert (run.start is None) == (run.run_count == 0)
    assert run.start is None or run.start in begun
    assert 0 <= run.running_us <= max(row.t for row in rows) - START


@given(st.permutations(range(150)), st.lists(st.integers(0, 149), max_size=30))
def test_a_history_over_its_limit_keeps_its_beginning_and_its_end(order: list[int], again: list[int]) -> None:
    """What is left out is always the middle, whatever came when, and however often."""
    states = [row("RUNNING", 50 * n, at=n) for n in range(150)]
    run = told([states[n] for n in (*order, *again)])

    assert states[:20] + states[-80:] == run.history
    assert len(run.history) == HISTORY_LIMIT
    assert states[-1] == run.state


@given(reports())
def test_a_history_is_in_order_and_holds_every_report_once(rows: list[StateRow]) -> None:
    """Late reports are kept too: they explain what people saw."""
    history: list[StateRow] = []
    for one in [*rows, *rows]:
        history = merge_history(history, one)

    assert sorted(rows, key=history_order) == history


def test_the_first_report_always_stands() -> None:
    """Nothing is weaker than any report, even one of a run of which no byte is known."""
    for rank in Rank:
        for type in ("PENDING", "CANCELLING", "CRASHED"):
            assert resolve(NOTHING, row(type, 0, rank)).stands


def test_the_same_report_twice_does_not_stand_twice() -> None:
    """Delivery twice is delivery once."""
    run = Run("run", True, START)

    assert runs.report(run, row("RUNNING", 100)) is True
    assert runs.report(run, row("RUNNING", 100)) is False
    assert len(run.history) == 1


def test_two_servers_that_presume_at_the_same_place_agree_in_the_end() -> None:
    """A tie is decided by time, then by id; not by who came first."""
    a = StateRow("a", "CRASHED", "Lost", START + 9, Rank.PRESUMPTION, 1, 500)
    b = StateRow("b", "CRASHED", "Lost", START + 8, Rank.PRESUMPTION, 1, 500)
    c = StateRow("c", "CRASHED", "Lost", START + 9, Rank.PRESUMPTION, 1, 500)

    assert strength_of(a) == strength_of(b) == strength_of(c)
    assert told([a, b]) == told([b, a])
    assert a == told([a, b]).state
    assert told([a, c]) == told([c, a])
    assert c == told([a, c]).state


def test_a_strength_fits_into_64_bits() -> None:
    """The server keeps it in three columns of numbers."""
    far = 4_102_444_800_000_000  # 2100-01-01
    rows = [
        StateRow("x", type, type, far, rank, 2**31 - 1, 2**50)
        for rank in Rank
        for type in ("RUNNING", "CANCELLING", "CANCELLED", "CRASHED")
    ]

    assert all(-(2**63) <= number < 2**63 for one in rows for number in strength_of(one))


# The rows of VERDICTS.md that are about the rule alone

PENDING = row("PENDING", 100)
RUNNING = row("RUNNING", 200, at=1)
COMPLETED = row("COMPLETED", 900, at=300)
LOST = row("CRASHED", 201, Rank.PRESUMPTION, at=60, name="Lost")


def test_row_29_a_host_that_is_lost_is_presumed_so() -> None:
    """Worker, supervisor and run are gone: Crashed, name Lost, with the last sign of life and the host."""
    run = told([PENDING, RUNNING])
    changed = runs.presume_lost(
        run, now=START + 40_000_000, offset=230, attempt=1, last_seen="12:04:31", host="mill", id="p"
    )

    assert changed is True
    assert run.state is not None
    assert (run.state.type, run.state.name, run.state.rank) == ("CRASHED", "Lost", Rank.PRESUMPTION)
    assert "12:04:31" in str(run.state.message)
    assert "mill" in str(run.state.message)
    assert (run.state.details or {})["evidence"] == {
        "certainty": "presumed",
        "last_sign_of_life": "12:04:31",
        "host": "mill",
    }
    assert run.end == START + 40_000_000
    assert run.is_open is False


@pytest.mark.parametrize("late", [COMPLETED, row("CRASHED", 900, Rank.VERDICT, at=300)])
def test_row_30_what_a_journal_left_behind_tells_replaces_the_presumption(late: StateRow) -> None:
    """The host is back: the state is the journal's, and the history holds both."""
    run = told([PENDING, RUNNING, LOST, late])

    assert late == run.state
    assert LOST in run.history
    assert late.t == run.end


def test_row_31_a_run_that_finished_behind_a_cut_network_gets_the_state_it_earned() -> None:
    """Lost first, then Completed with its true times; both in the history."""
    before = told([PENDING, RUNNING, LOST])
    after = told([PENDING, RUNNING, LOST, COMPLETED])

    assert (before.state.name, after.state.name) == ("Lost", "Completed")  # type: ignore[union-attr]
    assert after.history == [PENDING, RUNNING, LOST, COMPLETED]
    assert (after.run_count, after.running_us) == (1, 299_000_000)


def test_row_32_a_late_report_of_an_older_attempt_is_history_only() -> None:
    """Attempt 2 was started meanwhile: what attempt 1 says at last changes nothing."""
    second = row("RUNNING", 200, attempt=2, at=120)
    run = told([PENDING, RUNNING, LOST, row("PENDING", 100, attempt=2, at=119), second])
    changed = runs.report(run, COMPLETED)

    assert changed is False
    assert second == run.state
    assert COMPLETED in run.history
    assert (run.end, run.run_count) == (None, 2)


def test_a_presumption_beats_what_was_known_and_yields_to_what_comes_after() -> None:
    """At byte 500 it doubts the record at 499, and not the one that begins at 500."""
    doubt = row("CRASHED", 500, Rank.PRESUMPTION)
    known, new = row("RUNNING", 499), row("RUNNING", 500)

    assert doubt == told([known, doubt]).state
    assert new == told([known, doubt, new]).state
    assert new == told([new, doubt, known]).state


def presume(run: Run, id: str) -> bool:
    return runs.presume_lost(
        run, now=START + MINUTE, offset=230, attempt=1, last_seen="12:00", host="h", id=id
    )


def test_a_sign_of_life_withdraws_a_presumption() -> None:
    """The latest fact stands again, under its own id and time; the history still tells of the doubt."""
    run = told([PENDING, RUNNING])
    presume(run, "p1")
    withdrawn = runs.withdraw_lost(run, 1)

    assert withdrawn is True
    assert run.state is not None
    assert (RUNNING.id, RUNNING.t) == (run.state.id, run.state.t)
    assert (run.run_count, run.end, run.is_open) == (1, None, True)
    assert [one.type for one in run.history] == ["PENDING", "RUNNING", "CRASHED"]


def test_a_run_that_is_silent_again_and_again_is_presumed_lost_each_time() -> None:
    """Not one byte may come between two lapses: the second doubt is as strong as the first."""
    run = told([PENDING, RUNNING])
    for turn in range(10):
        assert presume(run, f"p{turn}") is True
        assert run.state is not None
        assert run.state.name == "Lost"
        assert runs.withdraw_lost(run, 1) is True
        assert run.state.type == "RUNNING"
    presume(run, "last")
    next_record = row("RUNNING", 231, at=90)

    assert runs.report(run, next_record) is True


def test_nothing_is_withdrawn_that_was_not_presumed() -> None:
    """A sign of life says nothing about a run that reported for itself, or of which no fact is known."""
    ended, unknown = told([PENDING, RUNNING, COMPLETED]), Run("run", True, START)
    presume(unknown, "p")

    assert runs.withdraw_lost(ended, 1) is False
    assert runs.withdraw_lost(Run("run", True, START), 1) is False
    assert runs.withdraw_lost(unknown, 1) is False
    assert ended.state == COMPLETED


def test_an_older_attempt_that_lives_says_nothing_about_the_one_that_is_presumed_lost() -> None:
    """Otherwise the newer one would be Pending for ever, with its slot, because nobody doubts it a second time."""
    run = told([PENDING, RUNNING])
    presume(run, "p")
    again = row("PENDING", 0, Rank.PROPOSAL, at=40, attempt=2)
    runs.report(run, again)
    runs.presume_lost(run, now=START + 90, offset=0, attempt=2, last_seen="12:00", host="mill", id="p2")

    assert runs.withdraw_lost(run, 1) is False
    assert run.state is not None
    assert (run.state.name, run.state.attempt) == ("Lost", 2)
    assert runs.withdraw_lost(run, 2) is True
    assert run.state == again


def test_a_run_that_was_asked_to_cancel_and_fell_silent_is_presumed_cancelled() -> None:
    """Otherwise it would be Cancelling for ever: no presumption of a crash outranks an accepted request."""
    asked = row("CANCELLING", 0, Rank.PROPOSAL, at=30)
    run = told([PENDING, RUNNING, asked])
    changed = presume(run, "p")

    assert changed is True
    assert run.state is not None
    assert (run.state.type, run.state.name, run.state.rank) == ("CANCELLED", "Cancelled", Rank.PRESUMPTION)
    assert "after it was asked to end" in str(run.state.message)

    runs.report(run, COMPLETED)

    assert run.state == COMPLETED


def test_a_foreign_client_that_cancels_after_it_asked_is_heard() -> None:
    """Cancelling, then Cancelled: the second is no repetition of the first."""
    asked = row("CANCELLING", 0, Rank.PROPOSAL, at=30)
    done = row("CANCELLED", 0, Rank.PROPOSAL, at=31)

    assert done == told([PENDING, RUNNING, asked, done]).state


def test_a_late_running_does_not_reopen_a_run_but_is_counted() -> None:
    """The end came first, the beginning late: the run is over, and it is known that it ran, and how long."""
    run = told([COMPLETED, PENDING, RUNNING])

    assert run.state == COMPLETED
    assert (1, RUNNING.t, 299_000_000) == (run.run_count, run.start, run.running_us)


def test_retries_are_counted_and_waiting_is_not_running() -> None:
    """Two goes of 5 s with 20 s between them are 10 s of running."""
    run = told(
        [
            PENDING,
            row("RUNNING", 200, at=0),
            row("SCHEDULED", 300, at=5, name="AwaitingRetry"),
            row("RUNNING", 400, at=25, name="Retrying"),
            row("FAILED", 500, at=30),
        ]
    )

    assert (run.run_count, run.running_us) == (2, 10_000_000)
    assert (run.start, run.end) == (START, START + 30_000_000)


def test_what_ran_after_the_end_that_stands_is_not_counted() -> None:
    """Somebody forced it to Completed; that its process began another try was too late."""
    forced = row("COMPLETED", 0, Rank.FORCED, at=10)
    run = told([PENDING, RUNNING, forced, row("RUNNING", 400, at=20, name="Retrying")])

    assert forced == run.state
    assert (run.run_count, run.running_us) == (1, 9_000_000)


def test_a_second_host_whose_clock_is_behind_does_not_run_backwards() -> None:
    """Attempt 1 began at 12:00 here, attempt 2 at 11:59 there: no time is negative."""
    run = told(
        [
            row("RUNNING", 200, at=100),
            row("RUNNING", 200, attempt=2, at=40),
            row("FAILED", 300, attempt=2, at=45),
        ]
    )

    assert (run.run_count, run.running_us) == (2, 5_000_000)


def test_a_report_survives_the_database() -> None:
    """The history is stored as it is encoded; what comes back is the same."""
    full = StateRow(
        "id", "FAILED", "TimedOut", START, Rank.VERDICT, 2, 77, "It passed …", {"evidence": {"pid": 1}}
    )
    decoded = msgspec.json.decode(msgspec.json.encode([full, PENDING]), type=list[StateRow])

    assert [full, PENDING] == decoded
