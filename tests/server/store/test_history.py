"""A run's story goes into its row and comes back as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.ids import state_id_at
from headrace.model.resolve import Rank, StateRow
from headrace.model.runs import Run, report
from headrace.model.states import KINDS
from headrace.server.store import history

from ..journals import JOURNAL, NOW, an_id

_kinds = st.sampled_from(
    [(kind.type.value, kind.name) for kind in KINDS] + [("RUNNING", "Warming up"), ("FAILED", "Running")]
)


@st.composite
def states(draw: st.DrawFn) -> StateRow:
    type, name = draw(_kinds)
    offset = draw(st.integers(0, 10**12))
    id = draw(st.sampled_from([state_id_at(JOURNAL, offset), state_id_at(an_id(3, 0xA), offset), an_id(5)]))
    return StateRow(
        id,
        type,
        name,
        draw(st.integers(0, NOW * 2)),
        draw(st.sampled_from(Rank)),
        draw(st.integers(1, 3)),
        offset,
        draw(st.none() | st.text(max_size=5)),
        draw(
            st.none() | st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2)
        ),
    )


def row_of(run: Run, journal: str | None) -> dict[str, Any]:
    return {"id": run.id, "created_us": run.created, **history.state_columns(run, journal)}


@given(st.lists(states(), max_size=6), st.sampled_from([JOURNAL, None]), st.integers(0, NOW * 2))
def test_a_history_comes_back_from_its_text(told: list[StateRow], journal: str | None, base_us: int) -> None:
    """Every state, with every field, whoever owns the run."""
    text = history.encode_history(told, journal, base_us)

    assert history.decode_history(text, journal, base_us) == told


@given(
    st.lists(states(), max_size=6, unique_by=lambda row: row.id + str(row.t)),
    st.sampled_from([JOURNAL, None]),
)
def test_a_run_comes_back_from_its_row(told: list[StateRow], journal: str | None) -> None:
    """With its state, its strength and its times, ready to be reported on."""
    run = Run(an_id(1), True, NOW)
    for row in told:
        report(run, row)
    back = history.run_of(row_of(run, journal), is_flow=True)
    run.entry = back.entry

    assert back == run
    assert history.state_of(row_of(run, journal)) == run.state


def test_every_known_kind_of_state_has_its_number() -> None:
    """Numbers are for ever: they are in databases."""
    assert sorted(history.KIND_CODES) == sorted(kind.name for kind in KINDS)
    assert history.KIND_CODES[:9] == (
        "Scheduled", "Pending", "Running", "Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Paused",
    )  # fmt: skip


def test_the_usual_story_is_short() -> None:
    """Three states of a task take some 40 bytes; that is why there is no table of states."""
    run = Run(an_id(1), False, NOW)
    for offset, (type, name) in (
        (300, ("PENDING", "Pending")),
        (500, ("RUNNING", "Running")),
        (600, ("COMPLETED", "Completed")),
    ):
        report(run, StateRow(state_id_at(JOURNAL, offset), type, name, NOW + offset, Rank.FACT, 1, offset))
    row = row_of(run, JOURNAL)

    assert len(row["history"]) < 45
    assert row["state"] is None


@pytest.mark.parametrize("text", ["not a time", 5, None, "2025-13-01T00:00:00Z"])
def test_a_scheduled_time_that_cannot_be_read_is_none(text: object) -> None:
    """Details are what somebody wrote."""
    state = StateRow(an_id(1), "SCHEDULED", "AwaitingRetry", NOW, details={"scheduled_time": text})

    assert history.scheduled_us(state) is None


def test_a_planned_state_says_when_the_run_is_due() -> None:
    """Its details name the time; without them it is due at once."""
    run = Run(an_id(1), True, NOW)
    details = {"scheduled_time": "2025-06-15T15:06:45+00:00"}
    report(run, StateRow(an_id(2), "SCHEDULED", "AwaitingRetry", NOW, details=details))
    assert row_of(run, None)["next_scheduled_us"] == 1_750_000_005_000_000
    report(run, StateRow(an_id(3), "SCHEDULED", "AwaitingRetry", NOW + 1, offset=9))
    assert row_of(run, None)["next_scheduled_us"] == NOW + 1


def test_the_contracts_state_holds_a_foreign_clients_data_apart() -> None:
    """It travels in the details and is shown where the contract has it."""
    state = StateRow(an_id(1), "COMPLETED", "Completed", NOW, details={"data": {"a": 1}, "flow_run_id": "x"})
    told = history.state_json(state)

    assert (told["data"], told["state_details"]) == ({"a": 1}, {"flow_run_id": "x"})
    assert told["timestamp"] == "2025-06-15T15:06:40.000000Z"
    assert state.details == {"data": {"a": 1}, "flow_run_id": "x"}
