"""The table of answers, row by row, and what holds for every proposal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.clock import iso
from headrace.model.resolve import StateRow
from headrace.model.states import TERMINAL, StateType
from headrace.server.orchestration.rules import RULES, Facts, Proposal, decide, default_name

NOW = 1_790_000_000_000_000
SOON = iso(NOW + 90_500_000)
PAST = iso(NOW - 1_000_000)


def facts(type: str | None, name: str | None = None, *, flow: bool = True, **known: Any) -> Facts:
    """Return a run in a state; ``details`` are the state's."""
    details = known.pop("details", None)
    state = None if type is None else StateRow("s", type, default_name(type, name), NOW, details=details)
    return Facts(flow, state, **known)


def ask(type: str, name: str | None = None, **details: Any) -> Proposal:
    """Return a proposal."""
    return Proposal(type, default_name(type, name), details=details)


ROWS: list[tuple[str, Facts, Proposal, str, tuple[str, str] | None]] = [
    ("pending twice", facts("PENDING"), ask("PENDING"), "ABORT", None),
    ("running to pending", facts("RUNNING"), ask("PENDING"), "ABORT", None),
    ("cancelled to pending", facts("CANCELLED"), ask("PENDING"), "ABORT", None),
    (
        "scheduled to pending",
        facts("SCHEDULED", details={"scheduled_time": SOON}),
        ask("PENDING"),
        "ACCEPT",
        ("PENDING", "Pending"),
    ),
    ("too early", facts("SCHEDULED", details={"scheduled_time": SOON}), ask("RUNNING"), "WAIT", None),
    ("pending, too early", facts("PENDING", details={"scheduled_time": SOON}), ask("RUNNING"), "WAIT", None),
    (
        "in time",
        facts("SCHEDULED", details={"scheduled_time": PAST}),
        ask("RUNNING"),
        "ACCEPT",
        ("RUNNING", "Running"),
    ),
    ("submitting", facts("PENDING"), ask("PENDING", "Submitting"), "ACCEPT", ("PENDING", "Submitting")),
    ("submitting twice", facts("PENDING", "Submitting"), ask("PENDING", "Submitting"), "ABORT", None),
    ("running twice", facts("RUNNING"), ask("RUNNING"), "ACCEPT", ("RUNNING", "Running")),
    ("completed twice", facts("COMPLETED"), ask("COMPLETED"), "ACCEPT", ("COMPLETED", "Completed")),
    ("completed again", facts("COMPLETED"), ask("RUNNING"), "ACCEPT", ("RUNNING", "Running")),
    ("failed again", facts("FAILED"), ask("RUNNING"), "ACCEPT", ("RUNNING", "Running")),
    ("crashed again", facts("CRASHED"), ask("RUNNING"), "ACCEPT", ("RUNNING", "Running")),
    ("cancelled again", facts("CANCELLED"), ask("RUNNING"), "ACCEPT", ("RUNNING", "Running")),
    ("running to scheduled", facts("RUNNING"), ask("SCHEDULED"), "ACCEPT", ("SCHEDULED", "Scheduled")),
    ("completed with data", facts("COMPLETED", has_data=True), ask("RUNNING"), "REJECT", None),
    ("completed with data, later", facts("COMPLETED", has_data=True), ask("SCHEDULED"), "REJECT", None),
    (
        "completed with data fails",
        facts("COMPLETED", has_data=True),
        ask("FAILED"),
        "ACCEPT",
        ("FAILED", "Failed"),
    ),
    ("retry without deployment", facts("FAILED"), ask("SCHEDULED", "AwaitingRetry"), "ABORT", None),
    (
        "retry with deployment",
        facts("FAILED", has_deployment=True),
        ask("SCHEDULED", "AwaitingRetry"),
        "ACCEPT",
        ("SCHEDULED", "AwaitingRetry"),
    ),
    (
        "retries left",
        facts("RUNNING", run_count=1, retries=1, retry_delays=30),
        ask("FAILED"),
        "REJECT",
        ("SCHEDULED", "AwaitingRetry"),
    ),
    (
        "no retries left",
        facts("RUNNING", run_count=2, retries=1),
        ask("FAILED"),
        "ACCEPT",
        ("FAILED", "Failed"),
    ),
    (
        "same transition",
        facts("RUNNING", details={"transition_id": "t"}),
        ask("RUNNING", transition_id="t"),
        "REJECT",
        None,
    ),
    ("cancel what never began", facts("SCHEDULED"), ask("CANCELLING"), "REJECT", ("CANCELLED", "Cancelled")),
    (
        "cancel what is suspended",
        facts("PAUSED", "Suspended", details={"pause_reschedule": True}),
        ask("CANCELLING"),
        "REJECT",
        ("CANCELLED", "Cancelled"),
    ),
    (
        "cancel what waits in its process",
        facts("PAUSED"),
        ask("CANCELLING"),
        "ACCEPT",
        ("CANCELLING", "Cancelling"),
    ),
    (
        "cancel a retry in its process",
        facts("SCHEDULED", has_process=True),
        ask("CANCELLING"),
        "ACCEPT",
        ("CANCELLING", "Cancelling"),
    ),
    ("cancel", facts("RUNNING"), ask("CANCELLING"), "ACCEPT", ("CANCELLING", "Cancelling")),
    ("cancelling ends", facts("CANCELLING"), ask("CANCELLED"), "ACCEPT", ("CANCELLED", "Cancelled")),
    ("cancelling only ends cancelled", facts("CANCELLING"), ask("COMPLETED"), "REJECT", None),
    ("cancelling twice", facts("CANCELLING"), ask("CANCELLING"), "REJECT", None),
    ("cancel what has ended", facts("COMPLETED"), ask("CANCELLING"), "ABORT", None),
    ("what has ended cancelled", facts("FAILED"), ask("CANCELLED"), "ABORT", None),
    ("what has ended crashed", facts("FAILED"), ask("CRASHED"), "ABORT", None),
    ("pause what does not run", facts("PENDING"), ask("PAUSED"), "REJECT", None),
    ("pause", facts("RUNNING"), ask("PAUSED", pause_key="1"), "ACCEPT", ("PAUSED", "Paused")),
    (
        "the same pause",
        facts("RUNNING", pause_keys=frozenset("1")),
        ask("PAUSED", pause_key="1"),
        "REJECT",
        None,
    ),
    ("suspend without deployment", facts("RUNNING"), ask("PAUSED", pause_reschedule=True), "ABORT", None),
    (
        "suspend a subflow",
        facts("RUNNING", has_deployment=True, is_subflow=True),
        ask("PAUSED", pause_reschedule=True),
        "ABORT",
        None,
    ),
    ("resume", facts("PAUSED"), ask("RUNNING"), "ACCEPT", ("RUNNING", "Running")),
    ("pause to pending", facts("PAUSED"), ask("PENDING"), "REJECT", None),
    (
        "resume too late",
        facts("PAUSED", details={"pause_timeout": PAST}),
        ask("RUNNING"),
        "REJECT",
        ("FAILED", "Failed"),
    ),
    ("late", facts("SCHEDULED"), ask("SCHEDULED", "Late"), "ACCEPT", ("SCHEDULED", "Late")),
    ("late though running", facts("RUNNING"), ask("SCHEDULED", "Late"), "REJECT", None),
    (
        "a task of a flow at rest",
        facts("PENDING", flow=False, flow_state="COMPLETED"),
        ask("RUNNING"),
        "ABORT",
        None,
    ),
    (
        "a task of a running flow",
        facts("PENDING", flow=False, flow_state="RUNNING"),
        ask("RUNNING"),
        "ACCEPT",
        ("RUNNING", "Running"),
    ),
    ("a task of no flow", facts("PENDING", flow=False), ask("RUNNING"), "ACCEPT", ("RUNNING", "Running")),
    ("a task pending twice", facts("PENDING", flow=False), ask("PENDING"), "ACCEPT", ("PENDING", "Pending")),
    ("its journal speaks", facts("RUNNING", keeps_journal=True), ask("COMPLETED"), "ABORT", None),
    ("its journal speaks of its end", facts("RUNNING", keeps_journal=True), ask("CRASHED"), "ABORT", None),
    (
        "its journal is asked to end",
        facts("RUNNING", keeps_journal=True),
        ask("CANCELLING"),
        "ACCEPT",
        ("CANCELLING", "Cancelling"),
    ),
    (
        "its journal says when it is cancelled",
        facts("RUNNING", keeps_journal=True),
        ask("CANCELLED"),
        "REJECT",
        ("CANCELLING", "Cancelling"),
    ),
    ("again without deployment", facts("FAILED", keeps_journal=True), ask("SCHEDULED"), "ABORT", None),
    (
        "again with deployment",
        facts("FAILED", keeps_journal=True, has_deployment=True),
        ask("SCHEDULED"),
        "ACCEPT",
        ("SCHEDULED", "Scheduled"),
    ),
    (
        "its journal is asked to suspend",
        facts("RUNNING", keeps_journal=True, has_deployment=True),
        ask("PAUSED", "Suspended"),
        "ACCEPT",
        None,
    ),
    (
        "its journal is asked to suspend while it waits for a retry",
        facts("SCHEDULED", "AwaitingRetry", keeps_journal=True, has_deployment=True),
        ask("PAUSED", pause_reschedule=True),
        "ACCEPT",
        None,
    ),
    (
        "its journal is asked to suspend before it runs",
        facts("PENDING", keeps_journal=True, has_deployment=True),
        ask("PAUSED", "Suspended"),
        "REJECT",
        None,
    ),
    (
        "its journal is asked to suspend and nobody would start it again",
        facts("RUNNING", keeps_journal=True),
        ask("PAUSED", "Suspended"),
        "ABORT",
        None,
    ),
    (
        "a subflow in its parent's journal is asked to suspend",
        facts("RUNNING", keeps_journal=True, is_subflow=True),
        ask("PAUSED", "Suspended"),
        "ABORT",
        None,
    ),
    (
        "a deployment's run below another run is asked to suspend",
        facts("RUNNING", keeps_journal=True, has_deployment=True, is_subflow=True),
        ask("PAUSED", "Suspended"),
        "ACCEPT",
        None,
    ),
    (
        "only its own code pauses it",
        facts("RUNNING", keeps_journal=True, has_deployment=True),
        ask("PAUSED"),
        "ABORT",
        None,
    ),
    (
        "its journal is resumed",
        facts("PAUSED", keeps_journal=True),
        ask("RUNNING"),
        "ACCEPT",
        ("RUNNING", "Running"),
    ),
    (
        "its journal is resumed too late",
        facts("PAUSED", keeps_journal=True, details={"pause_timeout": PAST}),
        ask("RUNNING"),
        "REJECT",
        None,
    ),
    (
        "it waits in its process",
        facts("PAUSED", keeps_journal=True),
        ask("SCHEDULED"),
        "ABORT",
        None,
    ),
    (
        "cancel what waits in a journal",
        facts("PAUSED", keeps_journal=True),
        ask("CANCELLING"),
        "ACCEPT",
        ("CANCELLING", "Cancelling"),
    ),
    (
        "resume what its journal suspended",
        facts("PAUSED", "Suspended", suspended=True, details={"pause_reschedule": True}),
        ask("SCHEDULED", "Resuming"),
        "ACCEPT",
        ("SCHEDULED", "Resuming"),
    ),
    (
        "no process could go on",
        facts("PAUSED", "Suspended", suspended=True, details={"pause_reschedule": True}),
        ask("RUNNING"),
        "ABORT",
        None,
    ),
    (
        "resume what its journal suspended too late",
        facts(
            "PAUSED",
            "Suspended",
            suspended=True,
            details={"pause_reschedule": True, "pause_timeout": PAST},
        ),
        ask("SCHEDULED", "Resuming"),
        "REJECT",
        ("FAILED", "Failed"),
    ),
    (
        "a task in a journal",
        facts("RUNNING", flow=False, keeps_journal=True),
        ask("CANCELLING"),
        "ABORT",
        None,
    ),
    (
        "no slot",
        facts("SCHEDULED", full="deployment", lease="r"),
        ask("PENDING"),
        "REJECT",
        ("SCHEDULED", "AwaitingConcurrencySlot"),
    ),
    (
        "no slot, cancels",
        facts("SCHEDULED", full="deployment", full_cancels=True),
        ask("PENDING"),
        "REJECT",
        ("CANCELLED", "Cancelled"),
    ),
    ("no slot for a first state", facts(None, full="work pool"), ask("RUNNING"), "WAIT", None),
    ("no slot for a late start", facts("CRASHED", full="work queue"), ask("RUNNING"), "WAIT", None),
    ("its own slot", facts("PENDING", full="deployment"), ask("RUNNING"), "ACCEPT", ("RUNNING", "Running")),
    (
        "its own slot, submitting",
        facts("PENDING", full="deployment", full_cancels=True),
        ask("PENDING", "Submitting"),
        "ACCEPT",
        ("PENDING", "Submitting"),
    ),
    ("too early for a slot", facts("RUNNING", full="deployment"), ask("PENDING"), "ABORT", None),
    (
        "a task needs no slot",
        facts("PENDING", flow=False, full="x"),
        ask("RUNNING"),
        "ACCEPT",
        ("RUNNING", "Running"),
    ),
]


@pytest.mark.parametrize(
    ("known", "proposal", "status", "state"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_each_row_of_the_table(
    known: Facts, proposal: Proposal, status: str, state: tuple[str, str] | None
) -> None:
    """The status, and which state is written, if one is."""
    answer = decide(known, proposal, NOW)

    assert (status, state) == (
        answer.status,
        (answer.state.type, answer.state.name) if answer.state else None,
    )


def test_a_wait_is_rounded_up_so_that_nobody_comes_too_early() -> None:
    """90.5 s to go: come again in 91."""
    answer = decide(facts("SCHEDULED", details={"scheduled_time": SOON}), ask("RUNNING"), NOW)

    assert {"type": "wait_details", "delay_seconds": 91, "reason": answer.reason} == answer.details()


def test_a_retry_is_planned_after_its_delay() -> None:
    """A list gives each retry its own."""
    known = facts("RUNNING", run_count=2, retries=3, retry_delays=[1, 30])
    answer = decide(known, ask("FAILED"), NOW)

    assert answer.state is not None
    assert iso(NOW + 30_000_000) == answer.state.details["scheduled_time"]


def test_the_scheduled_time_goes_with_a_pending_run() -> None:
    """So that it still waits for it."""
    answer = decide(facts("SCHEDULED", details={"scheduled_time": SOON}), ask("PENDING"), NOW)

    assert answer.state is not None
    assert answer.state.details == {"scheduled_time": SOON}


def test_the_scheduled_time_stays_while_a_worker_submits_a_run() -> None:
    """Else a run that is taken ahead of its time would begin ahead of its time."""
    answer = decide(facts("PENDING", details={"scheduled_time": SOON}), ask("PENDING", "Submitting"), NOW)

    assert answer.state is not None
    assert answer.state.details == {"scheduled_time": SOON}


@pytest.mark.parametrize("type", ["PENDING", "RUNNING"])
def test_a_run_is_told_the_lease_on_its_slot(type: str) -> None:
    """From the state in which it takes it on, as long as it lives."""
    answer = decide(facts("PENDING" if type == "RUNNING" else "SCHEDULED", lease="r"), ask(type), NOW)

    assert answer.state is not None
    assert answer.state.details == {"deployment_concurrency_lease_id": "r"}


def test_a_run_that_finds_no_slot_is_offered_again_soon() -> None:
    """Half a minute later, with a reason that names the limit."""
    answer = decide(
        facts("SCHEDULED", details={"scheduled_time": PAST}, full="work queue"), ask("PENDING"), NOW
    )

    assert answer.state is not None
    assert answer.state.details == {"scheduled_time": iso(NOW + 30_000_000)}
    assert "work queue" in str(answer.reason)


def test_each_rule_is_needed() -> None:
    """Without any one of the rules some row of the table has another answer."""
    for number, rule in enumerate(RULES):
        fewer = RULES[:number] + RULES[number + 1 :]
        changed = [row[0] for row in ROWS if _decide_by(fewer, row) != decide(row[1], row[2], NOW)]

        assert changed, rule.sentence


def _decide_by(rules: Any, row: Any) -> Any:
    from unittest.mock import patch

    with patch("headrace.server.orchestration.rules.RULES", rules):
        return decide(row[1], row[2], NOW)


types = st.sampled_from([type.value for type in StateType])
runs = st.builds(
    facts,
    st.none() | types,
    flow=st.booleans(),
    has_data=st.booleans(),
    run_count=st.integers(0, 3),
    retries=st.integers(0, 3),
    pause_keys=st.frozensets(st.sampled_from(["a", "b"])),
    has_deployment=st.booleans(),
    has_process=st.booleans(),
    is_subflow=st.booleans(),
    keeps_journal=st.booleans(),
    suspended=st.booleans(),
    full=st.none() | st.sampled_from(["deployment", "work pool"]),
    full_cancels=st.booleans(),
    lease=st.none() | st.just("r"),
    flow_state=st.none() | types,
    details=st.fixed_dictionaries(
        {},
        optional={
            "scheduled_time": st.sampled_from([SOON, PAST, "nonsense"]),
            "pause_timeout": st.sampled_from([SOON, PAST]),
            "pause_reschedule": st.booleans(),
            "transition_id": st.sampled_from(["t", "u"]),
        },
    ),
)
proposals = st.builds(
    ask,
    types,
    st.none() | st.sampled_from(["Late", "AwaitingRetry", "Submitting", "Suspended"]),
    pause_key=st.none() | st.sampled_from(["a", "b"]),
    pause_reschedule=st.booleans(),
    transition_id=st.none() | st.sampled_from(["t", "u"]),
)


@given(runs, proposals)
def test_every_proposal_gets_an_answer_that_explains_itself(known: Facts, proposal: Proposal) -> None:
    """ACCEPT writes a state or asks the process; everything else has a reason; only WAIT has a delay, a positive one."""
    answer = decide(known, proposal, NOW)

    assert (answer.status == "ACCEPT") <= (answer.state is not None or answer.command == "suspend")
    assert (answer.command is not None) <= (answer.status == "ACCEPT" and known.keeps_journal)
    assert (answer.status != "ACCEPT") <= bool(answer.reason)
    assert (answer.status in ("ABORT", "WAIT")) <= (answer.state is None)
    assert (answer.status == "WAIT") == (answer.delay_seconds is not None and answer.delay_seconds > 0)


@given(runs, proposals)
def test_what_has_ended_never_becomes_crashed(known: Facts, proposal: Proposal) -> None:
    """The rule that cures misreporting by workers that guess from an exit code."""
    if known.state is not None and known.state.type in TERMINAL:
        answer = decide(known, proposal._replace(type="CRASHED"), NOW)

        assert answer.state is None


@given(runs, proposals)
def test_force_passes_every_rule(known: Facts, proposal: Proposal) -> None:
    """A person decided."""
    forced = proposal._replace(force=True)

    assert ("ACCEPT", forced) == decide(known, forced, NOW)[:2]
