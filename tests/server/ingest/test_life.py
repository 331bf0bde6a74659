"""Silence is presumed to be an end; any sign of life takes that back."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from headrace.model import entries
from headrace.model.ids import IdFactory
from headrace.model.resolve import Rank
from headrace.server.ingest import append, presume_lost, sign_of_life
from headrace.server.store import flow_runs, journals, task_runs
from headrace.server.store.database import Database

from ..databases import contents
from ..journals import JOURNAL, NOW, an_id, lines, opened

RUN, CHILD, TASK, PLACE = an_id(0, 1), an_id(1, 1), an_id(0, 2), an_id(9, 2)
LEASE = 30_000_000
MADE = lines(
    [
        opened(),
        entries.FlowRun(RUN, NOW, "f", "n"),
        entries.State(RUN, NOW + 1, "RUNNING"),
        entries.FlowRun(CHILD, NOW + 2, "g", "m", parent=RUN, placeholder=PLACE),
        entries.TaskRun(TASK, NOW + 2, "k", "n", "0", RUN),
        entries.State(TASK, NOW + 3, "COMPLETED"),
    ]
)


def begin(database: Database) -> None:
    append(database, JOURNAL, 0, MADE, now_us=NOW, leased=True)
    sign_of_life(database, {JOURNAL: NOW + 10})


def lapse(database: Database, at: int = NOW + LEASE + 20) -> int:
    return presume_lost(database, JOURNAL, before_us=at - LEASE, now_us=at, new_id=IdFactory().new)


def names(database: Database) -> list[str]:
    told = contents(database)
    return [row["state_name"] for row in (*told["flow_runs"], *told["task_runs"])]


def journal(database: Database) -> Any:
    with database.read() as connection:
        return journals.get(connection, JOURNAL)


def test_open_runs_are_presumed_lost_and_ended_ones_are_not(database: Database) -> None:
    """With the last sign of life and the host; the mirror of a subflow too."""
    begin(database)

    assert lapse(database) == 2
    assert names(database) == ["Lost", "Lost", "Completed", "Lost"]
    state = contents(database)["flow_runs"][0]["state"]
    assert (state.type, state.rank) == ("CRASHED", Rank.PRESUMPTION)
    assert state.details["evidence"]["host"] == "mill"
    assert "2025-06-15T15:06:40.000010Z" in state.message


def test_a_journal_that_came_back_in_time_is_left_alone(database: Database) -> None:
    """The look and the lock are two moments; the second counts."""
    begin(database)
    sign_of_life(database, {JOURNAL: NOW + LEASE})

    assert lapse(database) == 0
    assert "Lost" not in names(database)


def test_a_poll_takes_the_presumption_back(database: Database) -> None:
    """The run is Running again, under its own state's id; the history keeps the doubt. Again and again."""
    begin(database)
    before = contents(database)
    for turn in range(1, 4):
        at = NOW + turn * 2 * LEASE
        assert lapse(database, at) == 2
        sign_of_life(database, {JOURNAL: at + 5})
        assert names(database) == ["Running", "Pending", "Completed", "Pending"]
    after = contents(database)

    assert before["flow_runs"][0]["state"] == after["flow_runs"][0]["state"]
    assert [row.name for row in after["flow_runs"][0]["history"]] == [
        "Pending",
        "Running",
        "Lost",
        "Lost",
        "Lost",
    ]
    assert after["flow_runs"][0]["end_us"] is None


def test_bytes_take_the_presumption_back_of_runs_they_do_not_even_speak_of(database: Database) -> None:
    """They are a sign of life of the process, and so of every run in it."""
    begin(database)
    lapse(database)
    ending = lines([entries.State(RUN, NOW + 50, "COMPLETED")])
    append(database, JOURNAL, len(MADE), ending, now_us=NOW + 2 * LEASE, leased=True)
    told = contents(database)

    assert names(database) == ["Completed", "Pending", "Completed", "Pending"]
    assert [row.name for row in told["flow_runs"][0]["history"]] == [
        "Pending",
        "Running",
        "Completed",
        "Lost",
    ]
    assert told["flow_runs"][0]["end_us"] == NOW + 50
    assert journal(database)["presumed"] is None


def test_row_31_lost_first_then_the_state_it_earned(database: Database) -> None:
    """A run that ends behind a cut network: both are in the history, the earned state stands."""
    begin(database)
    lapse(database)
    ending = lines([entries.State(RUN, NOW + 50, "FAILED"), entries.Exit(NOW + 60, 1)])
    append(database, JOURNAL, len(MADE), ending, now_us=NOW + 2 * LEASE, leased=True)

    assert names(database)[0] == "Failed"
    assert lapse(database, NOW + 9 * LEASE) == 0  # the journal is closed: silence means nothing any more


def test_bytes_alone_begin_no_lease_and_an_embedded_shipper_ends_it(database: Database) -> None:
    """Only who polls can fall silent."""
    append(database, JOURNAL, 0, MADE, now_us=NOW, leased=True)
    assert journal(database)["leased"] is False
    sign_of_life(database, {JOURNAL: NOW + 10})
    assert journal(database)["leased"] is True
    more = lines([entries.Log(NOW, 20, "l", "m", RUN)])
    append(database, JOURNAL, len(MADE), more, now_us=NOW, leased=True)
    assert journal(database)["leased"] is True
    append(database, JOURNAL, len(MADE + more), more, now_us=NOW, leased=False)
    assert journal(database)["leased"] is False


def test_last_seen_never_goes_back_in_time(database: Database) -> None:
    """Two servers may flush in any order; a journal nobody knows is passed over."""
    begin(database)
    sign_of_life(database, {JOURNAL: NOW + 500, an_id(8, 0xA): NOW})
    sign_of_life(database, {JOURNAL: NOW + 400})

    assert journal(database)["last_seen_us"] == NOW + 500
    assert len(contents(database)["journals"]) == 1


def test_a_task_run_that_was_made_first_shows_the_times_of_its_flow_run(database: Database) -> None:
    """As a client makes it that starts a deployment's run from another flow: states are kept by the time since then."""
    begin(database)
    made = {"id": an_id(8, 2), "task_key": "k", "dynamic_key": "8", "name": "n", "created_us": NOW - 777}

    def tie(connection: Connection) -> None:
        flow_runs.change(connection, RUN, {"parent_task_run_id": made["id"]})
        task_runs.create(connection, {**made, "child_flow_run_id": RUN})

    database.write(tie)
    ends = lines([entries.State(RUN, NOW + 50, "COMPLETED")])
    append(database, JOURNAL, len(MADE), ends, now_us=NOW + 60, leased=True)
    with database.read() as connection:
        run, task = (
            flow_runs.get(connection, RUN, NOW, history=True),
            task_runs.get(connection, an_id(8, 2), NOW, history=True),
        )

    assert run is not None and task is not None
    assert [state["timestamp"] for state in task["state_history"]] == [
        state["timestamp"] for state in run["state_history"]
    ]
    assert task["state"]["timestamp"] == run["state"]["timestamp"]
