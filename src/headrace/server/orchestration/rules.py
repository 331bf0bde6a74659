"""The contract's answers to a proposed state: a table of rules, tried in order, with no clock and no database.

What a run's own process writes is a fact and never comes here (``model/resolve.py``). Here somebody else *asks*:
the answer is ACCEPT, REJECT (another state stands instead), ABORT (nothing changes, give up) or WAIT (ask later).
The first rule that has an opinion decides; when none has, the proposal is accepted as it was asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from headrace.model.clock import from_datetime, iso
from headrace.model.resolve import Rank, StateRow
from headrace.model.retries import DelaySpec, retry_delay
from headrace.model.states import DEFAULT_NAME, TERMINAL


class Facts(NamedTuple):
    """What has to be known of a run to answer for it."""

    is_flow: bool
    state: StateRow | None
    """The state it is in; ``None`` before its first."""
    has_data: bool = False
    """Whether that state carries a result that was kept."""
    run_count: int = 0
    """How often it has been begun."""
    retries: int = 0
    retry_delays: DelaySpec = None
    pause_keys: frozenset[str] = frozenset()
    """Keys of the pauses that have fired."""
    has_deployment: bool = False
    has_process: bool = False
    """Whether somebody told which process carries it out (``infrastructure_pid``)."""
    is_subflow: bool = False
    keeps_journal: bool = False
    """Whether its own process reports for it."""
    suspended: bool = False
    """Whether its own process reported it suspended, and is gone."""
    flow_state: str | None = None
    """For a task run: the type of its flow run's state; ``None`` when it has no flow run."""
    full: str | None = None
    """Which limit has no room for it (``deployment``, ``work queue``, ``work pool``); ``None``: there is room."""
    full_cancels: bool = False
    """Whether a run that finds no room is cancelled (``CANCEL_NEW``) instead of waiting."""
    lease: str | None = None
    """The id under which a client keeps its slot of the deployment's limit; ``None`` when that has no limit."""


class Proposal(NamedTuple):
    """A state that is asked for."""

    type: str
    name: str
    message: str | None = None
    details: dict[str, Any] = {}  # noqa: RUF012  # never changed in place: rules build a new one
    data: Any = None
    force: bool = False


class Answer(NamedTuple):
    """What a proposal comes to."""

    status: str
    """``ACCEPT``, ``REJECT``, ``ABORT`` or ``WAIT``."""
    state: Proposal | None = None
    """The state to be written; ``None`` when the run stays in the state it is in."""
    reason: str | None = None
    delay_seconds: int | None = None
    """For WAIT: when to ask again."""
    policy: dict[str, Any] | None = None
    """Fields of the run's ``empirical_policy`` that change with it."""
    next_attempt: bool = False
    """Whether the state begins a new attempt of the run."""
    command: str | None = None
    """What the run's process is asked to do (``suspend``, ``resume``)."""

    def details(self) -> dict[str, Any]:
        """Return the contract's ``details`` of the answer."""
        details: dict[str, Any] = {"type": f"{self.status.lower()}_details"}
        if self.status == "WAIT":
            details["delay_seconds"] = self.delay_seconds
        if self.status != "ACCEPT":
            details["reason"] = self.reason
        return details


class Ask(NamedTuple):
    """A proposal with all that its answer may depend on."""

    facts: Facts
    proposal: Proposal
    now: int
    """Microseconds since 1970, UTC."""


Check = Callable[[Ask], "Answer | None"]


class Rule(NamedTuple):
    """One row: between which types of state it speaks, and what it says."""

    sentence: str
    of: str
    """``flow``, ``task`` or ``any``: whose runs."""
    before: frozenset[str | None] | None
    """Types of the current state; ``None``: all."""
    after: frozenset[str] | None
    """Types of the proposed state; ``None``: all."""
    check: Check


def decide(facts: Facts, proposal: Proposal, now: int) -> Answer:
    """Answer a proposal at the moment ``now`` (microseconds since 1970, UTC)."""
    if proposal.force:
        # planned by force, it is for a worker to begin: all that was, decided or reported, is an attempt before
        return Answer("ACCEPT", proposal, next_attempt=facts.is_flow and proposal.type == "SCHEDULED")
    before = facts.state.type if facts.state else None
    kind = "flow" if facts.is_flow else "task"
    for rule in RULES:
        if (
            (rule.of == "any" or rule.of == kind)
            and (rule.before is None or before in rule.before)
            and (rule.after is None or proposal.type in rule.after)
        ):
            answer = rule.check(Ask(facts, proposal, now))
            if answer is not None:
                return answer
    return Answer("ACCEPT", proposal)


def time_of(value: object) -> int | None:
    """Return microseconds since 1970 of a time as details hold it (ISO text), or ``None``."""
    if not isinstance(value, str):
        return None
    try:
        return from_datetime(datetime.fromisoformat(value.replace("Z", "+00:00")))
    except ValueError:
        return None


def _reject(reason: str, state: Proposal | None = None, policy: dict[str, Any] | None = None) -> Answer:
    return Answer("REJECT", state, reason, policy=policy)


def _abort(reason: str) -> Answer:
    return Answer("ABORT", None, reason)


def _same_transition(ask: Ask) -> Answer | None:
    known = (ask.facts.state.details or {}).get("transition_id") if ask.facts.state else None
    if known is not None and known == ask.proposal.details.get("transition_id"):
        return _reject("This run has already made this state transition.")
    return None


def _has_ended(ask: Ask) -> Answer | None:
    assert ask.facts.state is not None
    return _abort(
        f"This run is already in terminal state {ask.facts.state.name} ({ask.facts.state.type}); "
        f"it cannot become {ask.proposal.type} any more. Its own report stands."
    )


def _completed_stays(ask: Ask) -> Answer | None:
    return _reject("This run is already completed.") if ask.facts.has_data else None


def _keeps_journal(ask: Ask) -> Answer | None:
    if not ask.facts.keeps_journal:
        return None
    ended = ask.facts.state is not None and ask.facts.state.type in TERMINAL
    if ask.facts.is_flow and ask.proposal.type == "SCHEDULED" and ended:
        if ask.facts.has_deployment:
            return Answer("ACCEPT", ask.proposal, next_attempt=True)
        return _abort(
            "This run has no deployment, so nobody would start it again. Run its script once more instead."
        )
    if ask.facts.is_flow and _is_unbegun(ask) and ask.proposal.type in _CANCEL:
        return _cancel_unbegun(ask)
    if ask.facts.is_flow and not ended and ask.proposal.type == "CANCELLED":
        asked = ask.facts.state is not None and ask.facts.state.type == "CANCELLING"
        cancelling = Proposal("CANCELLING", "Cancelling", ask.proposal.message, ask.proposal.details)
        reason = "Its process was asked to end; the run is Cancelled once it has."
        return _reject(reason, None if asked else cancelling)
    if ask.facts.is_flow and not ended and ask.proposal.type == "CANCELLING":
        return None
    if ask.facts.is_flow and ask.facts.state is not None and ask.facts.state.type == "PAUSED":
        return _resume_in_process(ask)
    if ask.facts.is_flow and ask.proposal.type == "PAUSED" and _suspends(ask.proposal):
        return _suspend_in_process(ask)
    if not ask.facts.is_flow and ask.proposal.type in _CANCEL:
        return _abort("A task run cannot be cancelled by itself. Cancel its flow run.")
    return _abort(
        "This run reports its states itself, through its journal; others may only ask that it be cancelled. "
        "Propose with force to overrule it."
    )


def _is_unbegun(ask: Ask) -> bool:
    """Say whether a worker has taken a run and its process has told nothing yet."""
    state = ask.facts.state
    return state is not None and state.type == "PENDING" and state.rank == Rank.PROPOSAL


def _cancel_unbegun(ask: Ask) -> Answer:
    message = ask.proposal.message or "Cancelled before it began."
    return _reject(
        "It has not begun, so it is cancelled at once; a process that is being started for it is told to end.",
        Proposal("CANCELLED", "Cancelled", message, ask.proposal.details),
    )


def _suspends(proposal: Proposal) -> bool:
    return bool(proposal.details.get("pause_reschedule")) or proposal.name == "Suspended"


def _suspend_in_process(ask: Ask) -> Answer:
    state = ask.facts.state
    # SCHEDULED is a retry for which the process waits itself
    if state is None or state.type not in ("RUNNING", "SCHEDULED"):
        return _reject("Only a run that is running can be suspended.")
    if ask.facts.has_deployment:  # then it has a process of its own, whichever run it is shown below
        return Answer("ACCEPT", command="suspend")
    return _cannot_suspend(ask)


def _cannot_suspend(ask: Ask) -> Answer:
    if ask.facts.is_subflow:
        return _abort("A subflow cannot be suspended: its process belongs to its parent.")
    return _abort("A run without a deployment cannot be suspended: nobody would start it again.")


def _resume_in_process(ask: Ask) -> Answer:
    if ask.proposal.type != "RUNNING":
        return _abort("This run waits in its process: it can be resumed (Running) or cancelled.")
    if _is_expired(ask):
        return _reject("The pause has timed out. The run's own process tells how it goes on.")
    return Answer("ACCEPT", ask.proposal, policy=_answered(ask), command="resume")


def _is_expired(ask: Ask) -> bool:
    assert ask.facts.state is not None
    until = time_of((ask.facts.state.details or {}).get("pause_timeout"))
    return until is not None and until < ask.now


def _answered(ask: Ask) -> dict[str, Any] | None:
    """Return the policy in which the pause that stands is one of those that are over."""
    assert ask.facts.state is not None
    key = (ask.facts.state.details or {}).get("pause_key")
    return {"pause_keys": sorted({*ask.facts.pause_keys, key})} if key is not None else None


def _cancelling_ends_cancelled(ask: Ask) -> Answer | None:
    if ask.proposal.type == "CANCELLED":
        return None
    return _reject("A run that is cancelling can only become cancelled.")


def _nothing_to_stop(ask: Ask) -> Answer | None:
    state = ask.facts.state
    assert state is not None
    suspended = state.type == "PAUSED" and bool((state.details or {}).get("pause_reschedule"))
    if suspended or (state.type == "SCHEDULED" and not ask.facts.has_process):
        message = ask.proposal.message or "Cancelled before a process was started for it."
        return _reject(
            "This run has no process to stop, so it is cancelled at once.",
            Proposal("CANCELLED", "Cancelled", message, ask.proposal.details),
        )
    return None


def _pending_once(ask: Ask) -> Answer | None:
    state = ask.facts.state
    assert state is not None
    if state.type == "PENDING" and _SUBMISSION.get(ask.proposal.name, 0) > _SUBMISSION.get(state.name, 0):
        return None  # the same worker goes on: Pending → Submitting → InfrastructurePending
    return _abort(f"This run is in a {state.type} state and cannot become PENDING again.")


_SUBMISSION = {"Submitting": 1, "InfrastructurePending": 2}


def _late_is_scheduled(ask: Ask) -> Answer | None:
    if ask.proposal.name != "Late":
        return None
    state = ask.facts.state
    if state is not None and state.type == "SCHEDULED" and state.name != "Late":
        return None
    return _reject("Only a scheduled run can be late.")


def _retry_needs_deployment(ask: Ask) -> Answer | None:
    if ask.proposal.name != "AwaitingRetry":
        return None
    if not ask.facts.has_deployment:
        return _abort("This run has no deployment, so nobody would start it again.")
    policy = {"retry_type": "reschedule", "resuming": False, "pause_keys": []}
    return Answer("ACCEPT", ask.proposal, policy=policy)


def _pause(ask: Ask) -> Answer | None:
    if ask.facts.state is None or ask.facts.state.type != "RUNNING":
        return _reject("Only a run that is running can be paused.")
    leaves = bool(ask.proposal.details.get("pause_reschedule"))
    if leaves and (ask.facts.is_subflow or not ask.facts.has_deployment):
        return _cannot_suspend(ask)
    key = ask.proposal.details.get("pause_key")
    if key is None:
        return None
    if key in ask.facts.pause_keys:
        return _reject("This pause has already fired.")
    return Answer("ACCEPT", ask.proposal, policy={"pause_keys": sorted({*ask.facts.pause_keys, key})})


def _resume(ask: Ask) -> Answer | None:
    assert ask.facts.state is not None
    if ask.proposal.type in TERMINAL or ask.proposal.type == "CANCELLING":
        return None
    if ask.proposal.type not in ("RUNNING", "SCHEDULED"):
        return _reject(f"A paused run cannot become {ask.proposal.type}.")
    if _is_expired(ask):
        return _reject(
            "The pause has timed out.", Proposal("FAILED", "Failed", "The run was paused and never resumed.")
        )
    if not ask.facts.suspended:
        return Answer("ACCEPT", ask.proposal, policy={"resuming": True})
    if ask.proposal.type == "RUNNING":
        return _abort(
            "This run is suspended: it has no process that could go on. Resume it, and a worker starts it again."
        )
    return Answer("ACCEPT", ask.proposal, policy=_answered(ask), next_attempt=True)


def _needs_room(ask: Ask) -> Answer | None:
    if ask.facts.full is None:
        return None
    reason = f"As many runs live as the limit of its {ask.facts.full} allows."
    if ask.proposal.type == "RUNNING":  # its process is there already, and can wait
        return Answer("WAIT", reason=reason, delay_seconds=AWAIT_SLOT_S)
    if ask.facts.full_cancels:
        return _reject(reason, Proposal("CANCELLED", "Cancelled", f"{reason} It cancels what is too much."))
    details = {"scheduled_time": iso(ask.now + AWAIT_SLOT_S * 1_000_000)}
    return _reject(reason, Proposal("SCHEDULED", "AwaitingConcurrencySlot", reason, details))


AWAIT_SLOT_S = 30
"""Seconds after which a run that found no slot is offered again; the contract's own."""


def _carry(ask: Ask) -> Answer | None:
    """Give a run that begins what the state before tells, and the lease on its slot."""
    carried: dict[str, Any] = {}
    if ask.proposal.type == "PENDING" and ask.facts.state is not None:
        carried["scheduled_time"] = (ask.facts.state.details or {}).get("scheduled_time")
    carried[_LEASE] = ask.facts.lease
    known = {name: value for name, value in carried.items() if value and not ask.proposal.details.get(name)}
    if not known:
        return None
    return Answer("ACCEPT", ask.proposal._replace(details={**ask.proposal.details, **known}))


_LEASE = "deployment_concurrency_lease_id"


def _wait_for_time(ask: Ask) -> Answer | None:
    when = time_of((ask.facts.state.details or {}).get("scheduled_time")) if ask.facts.state else None
    if when is None or when <= ask.now:
        return None
    # rounded up: a client that comes back at that time must not be told to wait once more
    delay = math.ceil((when - ask.now) / 1_000_000)
    return Answer("WAIT", reason="The scheduled time is in the future.", delay_seconds=delay)


def _flow_must_run(ask: Ask) -> Answer | None:
    if ask.facts.flow_state is None or ask.facts.flow_state == "RUNNING":
        return None
    return _abort(f"Its flow run is not running (it is {ask.facts.flow_state}), so this task run cannot run.")


def _retry(ask: Ask) -> Answer | None:
    if ask.facts.run_count > ask.facts.retries:
        return None
    delay = retry_delay(ask.facts.retry_delays, max(1, ask.facts.run_count))
    details = {**_own_details(ask.proposal.details), "scheduled_time": iso(ask.now + int(delay * 1_000_000))}
    state = Proposal("SCHEDULED", "AwaitingRetry", ask.proposal.message, details)
    policy = {"retry_type": "in_process", "resuming": False, "pause_keys": []} if ask.facts.is_flow else None
    return _reject("Retrying", state, policy)


def _own_details(details: dict[str, Any]) -> dict[str, Any]:
    return {
        key: details[key] for key in ("flow_run_id", "task_run_id", "child_flow_run_id") if details.get(key)
    }


_CANCEL = frozenset(("CANCELLING", "CANCELLED"))
_WITHOUT_SLOT: frozenset[Any] = TERMINAL | {"SCHEDULED", None}
"""A run that is in none of these takes no other slot by going on."""
_OPEN: frozenset[str] = frozenset(("SCHEDULED", "PENDING", "RUNNING", "PAUSED"))


def _set(*types: str) -> frozenset[Any]:
    return frozenset(types)


RULES: tuple[Rule, ...] = (
    Rule("The same transition is not made twice.", "any", None, None, _same_transition),
    Rule("What has ended has not crashed.", "any", TERMINAL, _set("CRASHED"), _has_ended),
    Rule("What has ended cannot be cancelled.", "flow", TERMINAL, _CANCEL, _has_ended),
    Rule("A run in a journal reports for itself.", "any", None, None, _keeps_journal),
    Rule("Completed with a result is completed.", "any", _set("COMPLETED"), _OPEN, _completed_stays),
    Rule(
        "Only a deployment's run starts again.", "flow", TERMINAL, _set("SCHEDULED"), _retry_needs_deployment
    ),
    Rule("Cancelling ends cancelled.", "flow", _set("CANCELLING"), None, _cancelling_ends_cancelled),
    Rule(
        "Without a process there is nothing to stop.",
        "flow",
        _set("SCHEDULED", "PAUSED"),
        _set("CANCELLING"),
        _nothing_to_stop,
    ),
    Rule(
        "Only one worker begins a run.",
        "flow",
        _set("PENDING", "RUNNING", "CANCELLED"),
        _set("PENDING"),
        _pending_once,
    ),
    Rule("Only a scheduled run is late.", "flow", None, _set("SCHEDULED"), _late_is_scheduled),
    Rule("Only a running run pauses, once for each key.", "flow", None, _set("PAUSED"), _pause),
    Rule("A pause ends by going on or ending.", "flow", _set("PAUSED"), None, _resume),
    Rule("A run waits for its time.", "any", _set("SCHEDULED", "PENDING"), _set("RUNNING"), _wait_for_time),
    # after all that may refuse it: room is only looked for when nothing else is in the way
    Rule("A run begins when there is room.", "flow", _WITHOUT_SLOT, _set("PENDING", "RUNNING"), _needs_room),
    Rule("Time and lease go with a run.", "any", None, _set("PENDING", "RUNNING"), _carry),
    Rule("A task runs in a running flow.", "task", None, _set("RUNNING"), _flow_must_run),
    Rule("A failure is retried.", "any", _set("RUNNING"), _set("FAILED"), _retry),
)


def default_name(state_type: str, name: str | None) -> str:
    """Return the state's name, or its type's own (``COMPLETED`` → ``Completed``)."""
    return name or DEFAULT_NAME[state_type]
