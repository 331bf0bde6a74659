"""The table of states and the law of edges."""

from __future__ import annotations

import pytest

from headrace.model import states, transitions
from headrace.model.states import BY_NAME, DEFAULT_NAME, KINDS, TERMINAL, StateType, is_over
from headrace.model.transitions import EDGES, is_allowed


def test_the_contract_has_these_nine_types() -> None:
    """They are the wire's words; a tenth would break every client."""
    expected = "SCHEDULED PENDING RUNNING COMPLETED FAILED CANCELLED CRASHED PAUSED CANCELLING".split()

    assert expected == [str(state) for state in StateType]


def test_every_type_has_a_state_of_its_own_name() -> None:
    """A type without a name still has a colour and a place in the documents."""
    for state in StateType:
        assert BY_NAME[DEFAULT_NAME[state.value]].type is state


def test_the_contracts_names_are_all_known() -> None:
    """The names that the field's tools show."""
    known = {
        "Scheduled", "Late", "AwaitingRetry", "Resuming", "AwaitingConcurrencySlot", "Pending", "Submitting",
        "InfrastructurePending", "NotReady", "Running", "Retrying", "Completed", "Cached", "RolledBack", "Failed",
        "TimedOut", "Crashed", "Cancelled", "Paused", "Suspended", "Cancelling",
    }  # fmt: skip

    assert set() == known - BY_NAME.keys()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_row_of_the_table_is_whole(kind: states.StateKind) -> None:
    """One sentence, a colour that a terminal knows, and a terminal flag that agrees with the rule."""
    from rich.color import Color

    assert kind.meaning.endswith(".")
    assert Color.parse(states.colour_of(kind.type.value, kind.name)).name == kind.colour
    assert is_over(kind.type.value, kind.name) == kind.terminal


def test_names_are_unique() -> None:
    """A name means one thing."""
    assert len(KINDS) == len(BY_NAME)


def test_an_unknown_name_takes_the_colour_of_its_type() -> None:
    """Users make states of their own names."""
    assert BY_NAME["Failed"].colour == states.colour_of("FAILED", "TooWindy")
    assert BY_NAME["Failed"].colour == states.colour_of("FAILED")


def test_no_edge_leaves_a_terminal_type() -> None:
    """By its own account a run that ended has ended."""
    assert [edge for edge in EDGES if edge.before is not None and edge.before.value in TERMINAL] == []


def test_every_type_can_be_reached_and_every_open_one_can_be_left() -> None:
    """No state is a trap, none is out of reach."""
    reached = {edge.after for edge in EDGES}
    left = {edge.before for edge in EDGES}

    assert set(StateType) == reached
    assert {s for s in StateType if s.value not in TERMINAL} == left - {None}


def test_a_run_can_end_from_every_open_type_when_its_process_dies() -> None:
    """A verdict of a crash is permitted wherever a process can die."""
    for state in StateType:
        if state.value not in TERMINAL:
            assert is_allowed(state.value, "CRASHED")


def test_an_edge_has_one_verb_and_one_reason() -> None:
    """The diagram is drawn from it."""
    pairs = [(edge.before, edge.after) for edge in EDGES]

    assert len(set(pairs)) == len(pairs)
    assert all(edge.verb and edge.why for edge in EDGES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("COMPLETED", "RUNNING"),
        ("PENDING", "PAUSED"),
        ("FAILED", "CRASHED"),
        (None, "RUNNING"),
        ("PAUSED", "COMPLETED"),
    ],
)
def test_what_is_not_in_the_law_is_refused(before: str | None, after: str) -> None:
    """The law is the whole of it."""
    assert not is_allowed(before, after)


def test_the_check_knows_exactly_the_edges() -> None:
    """One table, read twice."""
    types: list[str | None] = [None, *(state.value for state in StateType)]
    allowed = {(b, a) for b in types for a in types if a is not None and is_allowed(b, a)}

    assert {(edge.before and edge.before.value, edge.after.value) for edge in EDGES} == allowed
    assert allowed == transitions.ALLOWED
