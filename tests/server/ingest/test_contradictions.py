"""Journals that cannot be true: what is false is counted, what is good beside it is kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace.model import entries
from headrace.model.entries import Entry, encode
from headrace.server.ingest import append
from headrace.server.ingest.lines import DEPTH_LIMIT, JSON_LIMIT, MESSAGE_LIMIT, NAME_LIMIT
from headrace.server.store import journals, logs
from headrace.server.store.database import Database

from ..databases import contents
from ..journals import JOURNAL, NOW, a_run, an_id, lines, opened

RUN, TASK, OTHER = an_id(0, 1), an_id(0, 2), an_id(2, 0xA)


def send(database: Database, data: bytes, journal: str = JOURNAL) -> dict[str, Any]:
    append(database, journal, 0, data, now_us=NOW, leased=False)
    return contents(database)


def beside(*bad: Entry) -> bytes:
    """Return a good journal with bad records before its last state."""
    good = a_run(1)
    return lines([*good[:-2], *bad, *good[-2:]])


def torn(told: dict[str, Any], journal: str = JOURNAL) -> int:
    return next(int(row["torn"]) for row in told["journals"] if row["id"] == journal)


BAD: dict[str, Entry] = {
    "a state of a run nobody made": entries.State(an_id(7, 1), NOW, "RUNNING"),
    "a state of no known type": entries.State(RUN, NOW, "BOGUS"),
    "a time before 1970": entries.State(RUN, -1, "RUNNING"),
    "a time after the year 9999": entries.State(RUN, 10**30, "RUNNING"),
    "an id that is none": entries.State("x'; DROP TABLE flows; --", NOW, "RUNNING"),
    "an id in capitals": entries.TaskRun(an_id(7, 2).upper().replace("0", "A"), NOW, "k", "n", "0", RUN),
    "a task of a flow run that is none": entries.TaskRun(an_id(7, 2), NOW, "k", "n", "0", "nobody"),
    "a child of a parent that is none": entries.FlowRun(an_id(7, 1), NOW, "f", "n", parent="nobody"),
    "a task run with the id of a flow run": entries.TaskRun(RUN, NOW, "k", "n", "0"),
    "a flow run with the id of a task run": entries.FlowRun(TASK, NOW, "f", "n"),
    "a verdict on a run nobody made": entries.Verdict(an_id(7, 1), NOW, "CRASHED", "Crashed", "gone"),
    "a log line of a run that is none": entries.Log(NOW, 20, "logger", "text", "nobody"),
    "a second beginning": opened(),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_record_that_cannot_be_is_counted_and_harms_nothing(database: Database, bad: Entry) -> None:
    """The run beside it ends as it did, and the journal says that one line was not taken."""
    told = send(database, beside(bad))

    assert torn(told) == 1
    assert [(row["id"], row["state_type"]) for row in told["flow_runs"]] == [(RUN, "COMPLETED")]
    assert [(row["id"], row["state_type"]) for row in told["task_runs"]] == [(TASK, "COMPLETED")]


@pytest.mark.parametrize(
    "line",
    [b"garbage", b"{", b"\xff\xfe\x00", b"null", b"[]", b'{"k":"state"}', b'{"k":"state","run":1,"t":"x"}', b'"\\ud800"',
     b'{"k":"flow","run":"a","t":1,"flow":"f","name":"n","parameters":' + b"[" * 9_999 + b"]" * 9_999 + b"}"],
)  # fmt: skip
def test_a_line_that_is_no_record_is_counted_and_harms_nothing(database: Database, line: bytes) -> None:
    """Whatever bytes it holds."""
    good = a_run(1)
    told = send(database, lines(good[:2]) + line + b"\n" + lines(good[2:]))

    assert torn(told) == 1
    assert [row["state_type"] for row in told["flow_runs"]] == ["COMPLETED"]


def test_a_run_that_ended_twice_ended_as_it_first_said(database: Database) -> None:
    """The rule of ranks, and the history holds both."""
    told = send(database, beside(entries.State(RUN, NOW + 20, "FAILED", message="first")))
    flow_run = told["flow_runs"][0]

    assert (flow_run["state_type"], flow_run["state"].message) == ("FAILED", "first")
    assert [row.type for row in flow_run["history"]] == ["PENDING", "RUNNING", "FAILED", "COMPLETED"]


def test_a_run_made_twice_keeps_its_first_making(database: Database) -> None:
    """Names and parents are not rewritten."""
    again = entries.FlowRun(RUN, NOW + 5, "another flow", "another name")
    told = send(database, beside(again))

    assert [row["name"] for row in told["flow_runs"]] == ["brisk-otter"]
    assert [row["name"] for row in told["flows"]] == ["etl"]


def test_a_run_belongs_to_the_journal_that_made_it(database: Database) -> None:
    """Another journal of the same attempt may not speak of it."""
    send(database, lines(a_run(1)[:-2]))
    told = send(
        database,
        lines([opened(OTHER), entries.FlowRun(RUN, NOW, "etl", "x"), entries.State(RUN, NOW, "FAILED")]),
        OTHER,
    )

    assert torn(told, OTHER) == 2
    assert [(row["state_type"], row["journal_id"]) for row in told["flow_runs"]] == [("RUNNING", JOURNAL)]


def test_a_newer_attempt_takes_a_run_over_and_the_older_one_adds_history_only(database: Database) -> None:
    """Row 32: a late report of attempt 1 is kept and changes nothing else."""
    first = lines(a_run(0)[:-2])
    send(database, first)
    second = [
        opened(OTHER, attempt=2),
        entries.FlowRun(RUN, NOW + 50, "etl", "x"),
        entries.State(RUN, NOW + 60, "RUNNING"),
    ]
    send(database, lines(second), OTHER)
    append(
        database,
        JOURNAL,
        len(first),
        lines([entries.State(RUN, NOW + 99, "FAILED")]),
        now_us=NOW,
        leased=False,
    )
    told = contents(database)
    flow_run = told["flow_runs"][0]

    assert 0 == torn(told) == torn(told, OTHER)
    assert (flow_run["state_type"], flow_run["journal_id"], flow_run["attempt"]) == ("RUNNING", OTHER, 2)
    assert [row.type for row in flow_run["history"]] == ["PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING"]
    assert [row.attempt for row in flow_run["history"]] == [1, 1, 1, 2, 2]


def test_nul_characters_are_replaced_wherever_they_are(database: Database) -> None:
    """PostgreSQL cannot store them; an escaped backslash before u0000 is none."""
    told = send(
        database,
        lines(
            [
                opened(),
                entries.FlowRun(
                    RUN, NOW, "a\0b", "n\0", parameters=msgspec.Raw(b'{"p":"\\u0000","q":"\\\\u0000"}')
                ),
                entries.State(RUN, NOW, "FAILED", "na\0me", "\0", {"k\0": ["\0"]}),
                entries.Log(NOW, 20, "lo\0", "\0\0", RUN),
            ]
        ),
    )
    flow_run = told["flow_runs"][0]

    assert told["flows"][0]["name"] == "a\ufffdb"
    assert flow_run["parameters"] == {"p": "\ufffd", "q": "\\u0000"}
    assert (
        flow_run["state"].name, flow_run["state"].message, flow_run["state"].details
    ) == ("na\ufffdme", "\ufffd", {"k\ufffd": ["\ufffd"]})  # fmt: skip
    assert [(line.logger, line.message) for line in told["logs"]] == [("lo\ufffd", "\ufffd\ufffd")]


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("details", "kept"),
    [
        ({"evidence": {"exit_code": 1}}, True),
        (nested(DEPTH_LIMIT - 1), True),
        (nested(DEPTH_LIMIT + 1), False),
        ({"wide": [[]] * (DEPTH_LIMIT * 2)}, True),
        ({"large": "x" * JSON_LIMIT}, False),
    ],
)
def test_details_have_bounds(database: Database, details: dict[str, Any], kept: bool) -> None:
    """What is too large or too deep is replaced by a note that says so; the state itself stands."""
    told = send(database, beside(entries.State(TASK, NOW + 40, "FAILED", details=details)))
    state = next(row for row in told["task_runs"][0]["history"] if row.type == "FAILED")

    assert kept == (state.details == details)
    assert kept or "omitted" in state.details


def test_a_number_of_any_size_comes_back_as_it_was(database: Database) -> None:
    """JSON sets numbers no limit, and details are only shown."""
    line = encode(entries.State(RUN, NOW + 20, "FAILED", details={"n": 0})).replace(
        b'{"n":0}', b'{"n":' + b"9" * 40 + b"}"
    )
    good = a_run(0)
    told = send(database, lines(good[:-2]) + line + b"\n" + lines(good[-2:]))

    assert told["flow_runs"][0]["state_type"] == "FAILED"
    assert told["flow_runs"][0]["state"].details == {"n": 10**40 - 1}


def test_parameters_that_are_no_object_are_left_out_with_a_note(database: Database) -> None:
    """The API could not show them."""
    told = send(
        database, lines([opened(), entries.FlowRun(RUN, NOW, "f", "n", parameters=msgspec.Raw(b"[1]"))])
    )

    assert "omitted" in told["flow_runs"][0]["parameters"]


def test_long_texts_are_cut_and_say_so(database: Database) -> None:
    """Names to what an index takes, messages to what a page shows."""
    told = send(
        database,
        lines(
            [
                opened(),
                entries.FlowRun(RUN, NOW, "f" * 9_999, "n" * 9_999),
                entries.State(RUN, NOW, "FAILED", "s" * 9_999, "m" * (MESSAGE_LIMIT + 5)),
                entries.Log(NOW, 10**20, "l" * 9_999, "m" * (MESSAGE_LIMIT + 5), RUN),
            ]
        ),
    )
    state, line = told["flow_runs"][0]["state"], told["logs"][0]

    assert (
        NAME_LIMIT == len(told["flows"][0]["name"]) == len(told["flow_runs"][0]["name"]) == len(line.logger)
    )
    assert len(state.name) == 200
    assert state.message == line.message
    assert state.message.endswith(f"({MESSAGE_LIMIT + 5} characters in all)")
    assert line.level == 0


def test_two_subflows_cannot_share_a_stand_in_nor_take_a_task_runs_place(database: Database) -> None:
    """The second is a subflow all the same, only without a task run in its parent."""
    places = [an_id(9, 2), an_id(9, 2), TASK]
    children: list[Entry] = [
        entries.FlowRun(an_id(3 + n, 1), NOW, "child", "c", parent=RUN, placeholder=place)
        for n, place in enumerate(places)
    ]
    told = send(database, beside(*children))

    assert torn(told) == 0
    assert [None, an_id(9, 2), None, None] == [row["parent_task_run_id"] for row in told["flow_runs"]]
    assert [(TASK, None), (an_id(9, 2), an_id(3, 1))] == [
        (row["id"], row["child_flow_run_id"]) for row in told["task_runs"]
    ]


def test_a_stand_in_does_not_report_for_itself(database: Database) -> None:
    """It is the subflow's mirror, in the batch that made it and in later ones."""
    place = an_id(9, 2)
    made = lines([opened(), entries.FlowRun(RUN, NOW, "f", "n", parent=an_id(5, 1), placeholder=place)])
    lie = lines([entries.State(place, NOW + 1, "FAILED"), entries.TaskRun(place, NOW + 2, "k", "n", "0")])
    send(database, made + lie)
    append(database, JOURNAL, len(made + lie), lie, now_us=NOW, leased=False)
    told = contents(database)

    assert torn(told) == 4
    assert [row["state_type"] for row in told["task_runs"]] == ["PENDING"]


def test_the_token_is_not_kept(database: Database) -> None:
    """It is a secret between a worker and the server that gave it."""
    header = msgspec.structs.replace(opened(), token="s3cret", argv=["flow.py"])
    send(database, lines([header]))
    with database.read() as connection:
        row = journals.get(connection, JOURNAL)

    assert row is not None
    assert row["header"]["argv"] == ["flow.py"]
    assert "s3cret" not in str(dict(row))


def test_counts_of_lost_records_add_up(database: Database) -> None:
    """Over batches, and a number without sense does no harm."""
    data = lines([opened(), entries.Missing(NOW, 3, "full"), entries.Missing(NOW, -7, "?")])
    send(database, data)
    append(database, JOURNAL, len(data), lines([entries.Missing(NOW, 4, "full")]), now_us=NOW, leased=False)

    assert contents(database)["journals"][0]["missing"] == 7


def test_a_log_of_a_run_that_never_came_is_kept(database: Database) -> None:
    """The line was written; whose it is may be known elsewhere."""
    send(database, lines([opened(), entries.Log(NOW, 30, "l", "text", an_id(8, 1), an_id(8, 2))]))
    with database.read() as connection:
        found = logs.query(connection, logs.LogFilter(flow_runs=[an_id(8, 1)]))

    assert [line.message for line in found] == ["text"]
