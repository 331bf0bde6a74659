"""The fold: what a journal's records make of its runs."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from headrace.journal.reader import split
from headrace.model import entries, runs
from headrace.model.entries import encode
from headrace.model.resolve import Rank
from headrace.model.runs import Journal, fold

from .journals import JOURNAL, journals
from .strategies import START

OPENED = entries.Open(JOURNAL, START, (1, 2), 10, 20, "boot", "mill")
FLOW = entries.FlowRun("f", START, "etl", "quiet-otter")
TASK = entries.TaskRun("t", START + 1, "load", "load-0", "0", flow_run="f")


def state(run: str, type: str, after: int = 0, **more: object) -> entries.State:
    return entries.State(run=run, t=START + after, type=type, **more)  # type: ignore[arg-type]


def folded(records: Iterable[entries.Entry | None]) -> Journal:
    """Return the fold of records that lie 100 bytes apart."""
    return fold(Journal(JOURNAL), ((100 * n, record) for n, record in enumerate(records)))


@given(journals(), st.data())
def test_a_journal_read_in_pieces_is_the_journal_read_at_once(data: bytes, draw: st.DataObject) -> None:
    """Wherever the pieces end: each reader goes on where the last whole line ended."""
    whole = fold(Journal(JOURNAL), split(data))
    pieces, offset = Journal(JOURNAL), 0
    while offset < len(data):
        piece = data[offset : draw.draw(st.integers(offset + 1, len(data)))]
        piece = piece[: piece.rfind(b"\n") + 1] or data[offset : data.index(b"\n", offset) + 1]
        fold(pieces, split(piece, offset))
        offset += len(piece)

    assert whole == pieces


@given(journals())
def test_a_journal_folded_twice_makes_the_same_runs(data: bytes) -> None:
    """A reader that starts over does no harm."""
    once = fold(Journal(JOURNAL), split(data))
    twice = fold(fold(Journal(JOURNAL), split(data)), split(data))

    assert once.runs == twice.runs


def test_a_run_begins_pending_and_ends_in_its_own_words() -> None:
    """Creation, start, end: states, counts and times."""
    journal = folded(
        [OPENED, FLOW, state("f", "RUNNING", 10), TASK, state("t", "RUNNING", 20),
         state("t", "FAILED", 50, message="no"), state("f", "COMPLETED", 90, name="AllSkipped")]
    )  # fmt: skip
    flow, task = journal.runs["f"], journal.runs["t"]

    assert [row.name for row in flow.history] == ["Pending", "Running", "AllSkipped"]
    assert [row.name for row in task.history] == ["Pending", "Running", "Failed"]
    assert (flow.is_flow, task.is_flow) == (True, False)
    assert (
        flow.created, flow.start, flow.end, flow.running_us, flow.run_count
    ) == (START, START + 10, START + 90, 80, 1)  # fmt: skip
    assert task.state.message == "no"  # type: ignore[union-attr]
    assert (flow.entry, task.entry) == (FLOW, TASK)


def test_the_first_of_two_ends_stands() -> None:
    """A journal that contradicts itself: what ended has ended, and the history holds both."""
    run = folded([OPENED, FLOW, state("f", "FAILED", 10), state("f", "COMPLETED", 20)]).runs["f"]

    assert run.state.type == "FAILED"  # type: ignore[union-attr]
    assert [row.type for row in run.history] == ["PENDING", "FAILED", "COMPLETED"]
    assert run.end == START + 10


def test_a_verdict_ends_what_was_open_and_yields_to_the_runs_own_word() -> None:
    """Even when that was written after it: the process had been thought dead."""
    verdict = entries.Verdict(
        "f", START + 30, "CRASHED", "Crashed", "gone", {"evidence": {"signal": "SIGKILL"}}
    )
    open_run = folded([OPENED, FLOW, state("f", "RUNNING", 10), verdict]).runs["f"]
    ended = folded([OPENED, FLOW, verdict, state("f", "COMPLETED", 40)]).runs["f"]

    assert (open_run.state.type, open_run.state.rank, open_run.is_open) == ("CRASHED", Rank.VERDICT, False)  # type: ignore[union-attr]
    assert open_run.state.details["evidence"] == {"signal": "SIGKILL"}  # type: ignore[union-attr,index]
    assert open_run.running_us == 20
    assert ended.state.type == "COMPLETED"  # type: ignore[union-attr]


def test_a_run_whose_making_was_lost_is_still_shown() -> None:
    """The disk was full when it began: what is known is worth showing, and what comes late is taken in."""
    journal = folded([OPENED, state("f", "COMPLETED", 20), state("f", "RUNNING", 10)])
    lost = journal.runs["f"]

    assert lost.state.type == "COMPLETED"  # type: ignore[union-attr]
    assert (lost.entry, lost.created) == (None, START + 10)

    runs.apply(journal, 9_000, FLOW)

    assert (lost.entry, lost.is_flow, lost.created) == (FLOW, True, START)
    assert lost.state.type == "COMPLETED"  # type: ignore[union-attr]


def test_not_ready_is_the_end_of_a_run_that_never_began() -> None:
    """The contract keeps it under PENDING; nothing more comes of it, so no verdict is due."""
    run = folded([OPENED, TASK, state("t", "PENDING", 5, name="NotReady")]).runs["t"]

    assert (run.is_open, run.run_count, run.start) == (False, 0, None)


def test_the_attempt_is_the_journals() -> None:
    """Every record of a journal speaks for the attempt that its first record names."""
    second = entries.Open(JOURNAL, START, (1, 2), 10, 20, "boot", "mill", attempt=2)
    journal = folded([second, FLOW, state("f", "RUNNING")])

    assert {2} == {row.attempt for row in journal.runs["f"].history}


def test_a_second_opening_changes_nothing() -> None:
    """A journal belongs to the process that its first record names."""
    other = entries.Open(JOURNAL, START, (9, 9), 99, 99, "boot", "elsewhere", attempt=7)
    journal = folded([OPENED, other])

    assert (journal.opened, journal.attempt) == (OPENED, 1)


def test_what_is_lost_and_what_is_torn_is_counted() -> None:
    """Nothing goes missing in silence."""
    gone = entries.Exit(START, signal=9)
    journal = folded(
        [
            OPENED,
            None,
            entries.Missing(START, 3, "the disk is full"),
            entries.Missing(START, 4, "again"),
            None,
            gone,
        ]
    )

    assert (7, 2, gone) == (journal.missing, journal.torn, journal.exit)


def test_logs_and_orders_speak_of_no_state() -> None:
    """They are the reader's to keep, and make no runs."""
    journal = folded(
        [OPENED, entries.Log(START, 20, "a", "m", flow_run="f"), entries.Asked(START, "f", "cancel"),
         entries.Adopted(START, 1)]
    )  # fmt: skip

    assert journal.runs == {}


def test_the_state_of_a_record_has_the_id_of_its_place() -> None:
    """So two servers, or one twice, make the same rows."""
    data = b"".join(encode(record) + b"\n" for record in (OPENED, FLOW, state("f", "RUNNING")))
    ids = [[row.id for row in fold(Journal(JOURNAL), split(data)).runs["f"].history] for _ in range(2)]

    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2
