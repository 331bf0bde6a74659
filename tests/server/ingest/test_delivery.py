"""However a journal is cut, repeated and reordered on its way, the database ends the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from headrace.errors import JournalError, OffsetMismatch
from headrace.journal.reader import whole
from headrace.model import entries
from headrace.server.ingest import append
from headrace.server.store import journals, logs, tables
from headrace.server.store.database import Database

from ..databases import clear, contents, dying
from ..journals import JOURNAL, NOW, a_run, an_id, lines, odd_journals, opened


def send(database: Database, offset: int, data: bytes, journal: str = JOURNAL) -> int:
    return append(database, journal, offset, data, now_us=NOW, leased=False).held


def at_once(beside: Database, data: bytes) -> dict[str, Any]:
    clear(beside)
    send(beside, 0, data)
    return contents(beside)


_pieces = st.lists(st.tuples(st.integers(-300, 60), st.integers(0, 900)), max_size=15)
"""``(where to begin, counted from what is held; how many bytes)`` of each piece that is sent."""


@settings(max_examples=80)
@given(data=odd_journals(), pieces=_pieces)
def test_any_way_of_delivery_ends_in_the_same_database(
    kept: Database, beside: Database, data: bytes, pieces: list[tuple[int, int]]
) -> None:
    """Pieces cut at any byte, sent twice, overlapping or too early: the content is that of one delivery."""
    clear(kept)
    held = 0
    for shift, size in pieces:
        begin = max(0, held + shift)
        try:
            held = send(kept, begin, data[begin : begin + size])
        except OffsetMismatch as error:
            assert (begin, held) == (error.given, error.expected)
    send(kept, held, data[held:])

    assert at_once(beside, data) == contents(kept)


@settings(max_examples=40)
@given(data=odd_journals(), choice=st.data())
def test_a_server_that_dies_within_a_transaction_has_taken_nothing(
    kept: Database, beside: Database, data: bytes, choice: st.DataObject
) -> None:
    """It dies before any of its statements; what is sent again afterwards counts once."""
    clear(kept)
    cut = choice.draw(st.integers(0, len(data)))
    held = send(kept, 0, data[:cut])
    before = contents(kept)
    with dying(kept, choice.draw(st.integers(1, 12))) as died:
        send(kept, held, data[held:])

    assert not died or before == contents(kept)

    send(kept, held, data[held:])

    assert at_once(beside, data) == contents(kept)


def test_bytes_past_the_end_are_refused_with_the_true_offset(database: Database) -> None:
    """Nothing is taken, and the error says from where to send."""
    data = lines(a_run())
    first = data.index(b"\n") + 1
    send(database, 0, data[:first])
    with pytest.raises(OffsetMismatch) as caught:
        send(database, first + 1, data[first + 1 :])

    assert (JOURNAL, first + 1, first) == (caught.value.journal, caught.value.given, caught.value.expected)
    with pytest.raises(OffsetMismatch) as unknown:
        append(database, an_id(9, 0xA), 1, b"", now_us=NOW, leased=False)
    assert unknown.value.expected == 0


def test_what_was_sent_whole_may_be_sent_again(database: Database) -> None:
    """The answer is how much is held, and nothing changes."""
    data = lines(a_run(logs=3))
    send(database, 0, data)
    before = contents(database)

    assert len(data) == send(database, 0, data)
    assert len(data) == send(database, len(data), b"")
    assert before == contents(database)


def test_an_unfinished_line_is_not_taken(database: Database) -> None:
    """Up to the last line end, whatever the cut."""
    data = lines(a_run())
    for end in range(0, len(data), 37):
        assert len(whole(data[:end])) == send(database, 0, data[:end])


def test_a_whole_run_is_told_as_it_happened(database: Database) -> None:
    """Every field that a journal tells has its column."""
    run, task = an_id(0, 1), an_id(1, 2)
    send(database, 0, lines(a_run(tasks=2, logs=3)))
    told = contents(database)
    flow_run, task_run, journal = told["flow_runs"][0], told["task_runs"][1], told["journals"][0]

    assert [row["name"] for row in told["flows"]] == ["etl"]
    assert (run, "brisk-otter", told["flows"][0]["id"]) == (
        flow_run["id"],
        flow_run["name"],
        flow_run["flow_id"],
    )
    assert (flow_run["state_type"], flow_run["state_name"], flow_run["run_count"]) == (
        "COMPLETED",
        "Completed",
        1,
    )
    assert flow_run["state"].message == "All states completed."
    assert (flow_run["created_us"], flow_run["start_us"], flow_run["end_us"]) == (NOW, NOW + 10, NOW + 1_100)
    assert (flow_run["running_us"], flow_run["running_since_us"]) == (1_090, None)
    assert [row.type for row in flow_run["history"]] == ["PENDING", "RUNNING", "COMPLETED"]
    assert (task, run, "etl.extract", "1", "extract-1") == tuple(
        task_run[name] for name in ("id", "flow_run_id", "task_key", "dynamic_key", "name")
    )
    assert [line.message for line in told["logs"]] == ["line 0", "line 1", "line 2"]
    assert tuple(journal[name] for name in ("host", "pid", "attempt", "closed_us", "torn")) == (
        "mill",
        7,
        1,
        NOW + 2_100,
        0,
    )


def test_a_subflow_has_a_task_run_in_its_parent_that_mirrors_it(database: Database) -> None:
    """The stand-in is made with the subflow and follows its states, whichever delivery brings them."""
    parent, child, place = an_id(0, 1), an_id(1, 1), an_id(9, 2)
    made = lines(
        [
            opened(),
            entries.FlowRun(parent, NOW, "parent", "p"),
            entries.FlowRun(child, NOW + 1, "child", "c", parent=parent, placeholder=place, dynamic_key="4"),
            entries.State(child, NOW + 2, "RUNNING"),
        ]
    )
    send(database, 0, made)
    running = contents(database)["task_runs"]
    ending = entries.State(child, NOW + 5, "FAILED", message="no", details={"evidence": {"a": 1}})
    send(database, len(made), lines([ending]))
    told = contents(database)
    stand_in, subflow = told["task_runs"][0], told["flow_runs"][1]

    assert [row["state_type"] for row in running] == ["RUNNING"]
    assert (place, parent, child, "child-4") == tuple(
        stand_in[name] for name in ("id", "flow_run_id", "child_flow_run_id", "name")
    )
    assert (place, parent) == (subflow["parent_task_run_id"], subflow["parent_flow_run_id"])
    assert subflow["state"] == stand_in["state"]
    assert subflow["history"] == stand_in["history"]
    assert subflow["end_us"] == stand_in["end_us"] == NOW + 5


def test_the_supervisors_receipt_marks_the_command(database: Database) -> None:
    """A command that reached the process's host says when."""
    run = an_id(0, 1)
    database.write(
        lambda connection: journals.add_command(
            connection, JOURNAL, action="cancel", flow_run_id=run, who="me", asked_us=NOW
        )
    )
    send(database, 0, lines([opened(), entries.Asked(NOW + 7, run, "cancel", "me", NOW)]))

    assert [row["acknowledged_us"] for row in contents(database)["commands"]] == [NOW + 7]


def test_the_same_flow_in_many_journals_is_one_flow(database: Database) -> None:
    """It is known by its name, and its id follows from that."""
    for number in range(3):
        journal = an_id(number, 0xA)
        append(database, journal, 0, lines(a_run(0, journal, first=number)), now_us=NOW, leased=False)
    told = contents(database)

    assert len(told["flows"]) == 1
    assert {told["flows"][0]["id"]} == {row["flow_id"] for row in told["flow_runs"]}


def test_log_lines_keep_their_ids_however_they_are_chunked(database: Database, beside: Database) -> None:
    """An id is its place in the journal, so a chunk more or less changes none."""
    data = lines(a_run(0, logs=50))
    ending = data.rindex(b"\n", 0, data.index(b"All states")) + 1
    held = 0
    while held < ending:
        held = send(database, held, data[held : min(ending, held + 300)])
    with database.read() as connection:
        chunks = connection.execute(select(func.count()).select_from(tables.log_chunks)).scalar_one()
        found = logs.query(connection, logs.LogFilter(), limit=100)

    assert chunks > 8
    assert at_once(beside, data)["logs"] == sorted(found)
    assert [f"line {number}" for number in range(50)] == [line.message for line in found]


@pytest.mark.parametrize(
    ("journal", "offset", "data", "word"),
    [
        ("not an id", 0, b"", "UUID"),
        (JOURNAL.upper(), 0, b"", "UUID"),
        (JOURNAL, -1, b"", "negative"),
        (JOURNAL, 0, lines([opened(an_id(2, 0xA))]), "its own id"),
    ],
)
def test_what_is_no_piece_of_this_journal_is_refused(
    database: Database, journal: str, offset: int, data: bytes, word: str
) -> None:
    """The message says what is wrong, and nothing is stored."""
    with pytest.raises(JournalError, match=word):
        append(database, journal, offset, data, now_us=NOW, leased=False)
    assert contents(database)["journals"] == []
