"""Put a proposed state to a run: gather the facts, let the rules answer, write down what they say.

Each function works within one transaction of its caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy.engine import Connection

from headrace.model.clock import iso
from headrace.model.resolve import HISTORY_LIMIT, Rank, StateRow, merge_history, strength_of
from headrace.model.runs import Run, report
from headrace.model.states import TERMINAL
from headrace.server.store import flow_runs, history, inputs, journals, rooms, run_json, runs, task_runs
from headrace.server.store.rooms import Rooms

from .bookkeeping import Times, enter
from .parameters import misfits
from .rules import Answer, Facts, Proposal, decide, time_of

Row = Mapping[str, Any]
Json = dict[str, Any]
NewId = Callable[[], str]


class Outcome(NamedTuple):
    """What a proposal came to."""

    answer: Answer
    state: StateRow | None
    """The run's state now."""
    changed: bool
    """Whether a state was written."""
    journal: str | None = None
    """The journal whose process was sent a command."""

    def to_json(self) -> Json:
        """Return the contract's OrchestrationResult."""
        return {
            "state": run_json.state(self.state) if self.state else None,
            "status": self.answer.status,
            "details": self.answer.details(),
        }


class Asking(NamedTuple):
    """Who asks for a state, and when."""

    now_us: int
    new_id: NewId
    who: str | None = None
    """In words for the run's log."""


def propose_flow_run(
    connection: Connection, id: str, proposal: Proposal, *, now_us: int, new_id: NewId, who: str | None = None
) -> Outcome | None:
    """Answer a state proposed for a flow run; ``None`` when there is no such run.

    ``who`` asks, in words for the run's log. A run that keeps a journal is sent a command when it is to end, to
    suspend or to go on.
    """
    begins = proposal.type in _BEGIN and not proposal.force
    room = rooms.lock(connection, id) if begins else rooms.UNLIMITED  # limits are locked before runs
    row = flow_runs.lock(connection, id)
    if row is None:
        return None
    run = history.run_of(row, is_flow=True)
    asking = Asking(now_us, new_id, who)
    if not proposal.force and row["journal_id"] is not None and _would_resume(run.state, proposal):
        return _let_go_on(connection, row, run, proposal, None, asking)
    return _put(connection, row, run, proposal, None, asking, room)


_BEGIN = frozenset(("PENDING", "RUNNING"))


class Replanned(NamedTuple):
    """A flow run that waits in another way now."""

    id: str
    before: StateRow


def replan_flow_runs(
    connection: Connection,
    ids: Sequence[str],
    proposal_of: Callable[[Row, StateRow], Proposal | None],
    *,
    now_us: int,
    new_id: NewId,
) -> list[Replanned]:
    """Propose a planned state (SCHEDULED) for each of many flow runs that wait, and write all that came of it at once.

    A run that somebody is writing at this moment does not wait: it is left out.
    """
    done: list[Replanned] = []
    changed: list[tuple[Row, Run]] = []
    for row in flow_runs.lock_all(connection, ids):
        run = history.run_of(row, is_flow=True)
        before = run.state
        proposal = proposal_of(row, before) if before is not None else None
        answer = decide(flow_facts(row, before), proposal, now_us) if proposal is not None else None
        if before is None or answer is None or answer.state is None:
            continue
        _enter(row, run, state_row(answer, run, now_us, new_id()), resuming=False)
        changed.append((row, run))
        done.append(Replanned(run.id, before))
    runs.save_states(connection, [runs.Known(run, row["journal_id"]) for row, run in changed], now_us)
    for row, run in sorted(changed, key=lambda one: one[0]["parent_task_run_id"] or ""):
        _mirror(connection, row, run)
    return done


def resume_flow_run(
    connection: Connection,
    id: str,
    given: Json | None,
    *,
    now_us: int,
    new_id: NewId,
    who: str | None = None,
) -> Outcome | None:
    """Let a paused or suspended flow run go on with what it is told; ``None`` when there is no such run."""
    row = flow_runs.lock(connection, id)
    if row is None:
        return None
    run = history.run_of(row, is_flow=True)
    if run.state is None or run.state.type != "PAUSED":
        return Outcome(Answer("ABORT", reason="Only a paused run can be resumed."), run.state, False)
    proposal = Proposal("RUNNING", "Running")
    if _leaves(run.state):
        proposal = Proposal("SCHEDULED", "Resuming", details={"scheduled_time": iso(now_us)})
    return _let_go_on(connection, row, run, proposal, given, Asking(now_us, new_id, who))


def _would_resume(state: StateRow | None, proposal: Proposal) -> bool:
    return state is not None and state.type == "PAUSED" and proposal.type in ("RUNNING", "SCHEDULED")


def _let_go_on(
    connection: Connection, row: Row, run: Run, proposal: Proposal, given: Json | None, asking: Asking
) -> Outcome:
    """Put a resume to a paused run, if it is told what it asked for, and keep that."""
    assert run.state is not None
    keys = (run.state.details or {}).get("run_input_keyset") or {}
    refusal = _refuse_input(connection, run.id, keys, given)
    if refusal is not None:
        return Outcome(Answer("REJECT", reason=refusal), run.state, False)
    outcome = _put(connection, row, run, proposal, given, asking)
    if outcome.changed and outcome.answer.status == "ACCEPT" and "response" in keys:
        value = msgspec.json.encode(given or {}).decode()
        inputs.put(connection, run.id, keys["response"], value, id=asking.new_id(), now_us=asking.now_us)
    return outcome


def _refuse_input(connection: Connection, id: str, keys: dict[str, str], given: Json | None) -> str | None:
    """Say why a run cannot go on with what it is told; ``None`` when it can."""
    if "schema" not in keys:
        return None
    text = inputs.get(connection, id, keys["schema"])
    if text is None:
        return "The run waits for input, and the schema of it is not there."
    try:
        schema = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return "The run waits for input, and the schema of it cannot be read."
    problems = misfits(schema, given or {}) if isinstance(schema, dict) else []
    return f"Run input validation failed: {'; '.join(problems)}." if problems else None


def _put(
    connection: Connection,
    row: Row,
    run: Run,
    proposal: Proposal,
    given: Json | None,
    asking: Asking,
    room: Rooms = rooms.UNLIMITED,
) -> Outcome:
    before = run.state
    answer = decide(flow_facts(row, before, room), proposal, asking.now_us)
    if answer.state is None:
        journal = _suspend(connection, row, proposal.details, asking) if answer.command == "suspend" else None
        return Outcome(answer, before, False, journal)
    if proposal.type == "CANCELLING" and asking.who is not None:
        answer = answer._replace(state=_asked(answer.state, asking))
    state = _write_flow_run(connection, row, run, answer, now_us=asking.now_us, new_id=asking.new_id)
    journal = None
    if answer.command == "resume" and before is not None:
        key = (before.details or {}).get("pause_key")
        journal = _command(
            connection, row, "resume", {"paused": before.t, "key": key, "input": given}, asking
        )
    elif state.type in _CANCEL and not has_left(before):
        journal = _command(connection, row, "cancel", None, asking)
    return Outcome(answer, state, True, journal)


def _asked(state: Proposal, asking: Asking) -> Proposal:
    """Return a state for which a person or a program asked, with who and when in its evidence."""
    known = state.details.get("evidence") or {}
    evidence = {"asked_by": asking.who, "asked_at": iso(asking.now_us), **known}
    return state._replace(details={**state.details, "evidence": evidence})


def propose_task_run(
    connection: Connection, id: str, proposal: Proposal, *, now_us: int, new_id: NewId
) -> Outcome | None:
    """Answer a state proposed for a task run; ``None`` when there is no such run."""
    row = task_runs.lock(connection, [id]).get(id)
    if row is None:
        return None
    run = history.run_of(row, is_flow=False)
    parent = flow_runs.row_of(connection, row["flow_run_id"]) if row["flow_run_id"] else None
    answer = decide(task_facts(row, run.state, parent["state_type"] if parent else None), proposal, now_us)
    if answer.state is None:
        return Outcome(answer, run.state, False)
    state = state_row(answer, run, now_us, new_id())
    columns = _columns(row, run, state, resuming=False)
    if parent is not None and state.type == "RUNNING":
        columns["flow_run_run_count"] = parent["run_count"]
    task_runs.change(connection, id, columns)
    return Outcome(answer, run.state, True)


def flow_facts(row: Row, state: StateRow | None, room: Rooms = rooms.UNLIMITED) -> Facts:
    """Return what the rules have to know of a flow run."""
    policy = flow_runs.policy(row)
    retries = policy["retries"] if policy["retries"] is not None else policy["max_retries"]
    delay = policy["retry_delay"] if policy["retry_delay"] is not None else policy["retry_delay_seconds"]
    journaled = _keeps_journal(row, state)
    return Facts(
        is_flow=True,
        state=state,
        has_data=_has_data(state),
        run_count=row["run_count"],
        retries=retries,
        retry_delays=delay,
        pause_keys=frozenset(policy["pause_keys"] or ()),
        has_deployment=row["deployment_id"] is not None,
        # where a journal tells, a process of an earlier attempt counts for nothing
        has_process=journaled or (row["infrastructure_pid"] is not None and row["journal_id"] is None),
        is_subflow=row["parent_task_run_id"] is not None,
        keeps_journal=journaled,
        suspended=_is_suspended(row, state),
        full=room.full,
        full_cancels=room.cancels,
        lease=row["id"] if room.leases else None,
    )


def task_facts(row: Row, state: StateRow | None, flow_state: str | None) -> Facts:
    """Return what the rules have to know of a task run; ``flow_state`` is its flow run's type of state."""
    policy = {**task_runs.POLICY, **(row["empirical_policy"] or {})}
    retries = policy["retries"] if policy["retries"] is not None else policy["max_retries"]
    delay = policy["retry_delay"] if policy["retry_delay"] is not None else policy["retry_delay_seconds"]
    return Facts(
        is_flow=False,
        state=state,
        has_data=_has_data(state),
        run_count=row["run_count"],
        retries=retries,
        retry_delays=delay,
        keeps_journal=_keeps_journal(row, state),
        flow_state=flow_state,
    )


def first_state(row: Row, proposal: Proposal, *, is_flow: bool, now_us: int, id: str) -> Json:
    """Return the state columns of a run that is made with a state; nobody is asked."""
    run = Run(row["id"], is_flow, row["created_us"])
    state = state_row(Answer("ACCEPT", proposal), run, now_us, id)
    return _columns({**_FRESH, **row}, run, state, resuming=False)


_FRESH: Json = {
    "journal_id": None,
    "run_count": 0,
    "start_us": None,
    "end_us": None,
    "running_us": 0,
    "running_since_us": None,
    "expected_start_us": None,
    "next_scheduled_us": None,
}


def _keeps_journal(row: Row, state: StateRow | None) -> bool:
    if row["journal_id"] is None:
        return False
    if _is_suspended(row, state):
        return False  # its process is gone
    # planned again by a person, it is nobody's until a worker takes it
    asked = state is not None and state.rank in (Rank.PROPOSAL, Rank.FORCED)
    return not (asked and state is not None and state.type == "SCHEDULED")


def _is_suspended(row: Row, state: StateRow | None) -> bool:
    reported = row["journal_id"] is not None and state is not None and state.rank == Rank.FACT
    return reported and state is not None and state.type == "PAUSED" and _leaves(state)


def _leaves(state: StateRow) -> bool:
    return bool((state.details or {}).get("pause_reschedule"))


def _has_data(state: StateRow | None) -> bool:
    data = (state.details or {}).get(history.DATA) if state is not None else None
    # a result that was only told of and never stored has no place where it could be read again
    return isinstance(data, dict) and data.get("storage_key") is not None


def _write_flow_run(
    connection: Connection, row: Row, run: Run, answer: Answer, *, now_us: int, new_id: NewId
) -> StateRow:
    policy = flow_runs.policy(row)
    changes = dict(answer.policy or {})
    resumes = bool(changes.get("resuming", policy["resuming"]))
    resuming = resumes and answer.state is not None and answer.state.type == "RUNNING"
    state = state_row(answer, run, now_us, new_id())
    row = _released(row, run.state, state)
    columns = _columns(row, run, state, resuming=resuming)
    if resuming:
        changes["resuming"] = False
    if changes:
        columns["empirical_policy"] = {**policy, **changes}
    flow_runs.change(connection, row["id"], {**columns, "updated_us": now_us})
    _mirror(connection, row, run)
    assert run.state is not None
    return run.state


def _released(row: Row, before: StateRow | None, state: StateRow) -> Row:
    """Return a run's row without its journal, if a client begins an attempt that will not be written there."""
    begins = state.type in _BEGIN and before is not None and before.type == "SCHEDULED"
    return {**row, "journal_id": None} if begins and not _keeps_journal(row, before) else row


def state_row(answer: Answer, run: Run, now_us: int, id: str) -> StateRow:
    """Return the state that an answer lets a run enter, in its place above what stands."""
    proposed = answer.state
    assert proposed is not None
    # what clients take as the default need not be kept
    said = {key: value for key, value in proposed.details.items() if value is not None and value is not False}
    details = {"flow_run_id" if run.is_flow else "task_run_id": run.id, **said}
    if proposed.data is not None:
        details[history.DATA] = proposed.data
    attempt = max(1, run.strength.attempt) + answer.next_attempt
    # never before the state it follows, whosever clock told that one's time
    now_us = max(now_us, run.state.t + 1) if run.state is not None else now_us
    # what a new attempt begins with is no last word: its process is to report on it
    rank = Rank.FORCED if proposed.force and not answer.next_attempt else Rank.PROPOSAL
    # a new attempt has a journal of its own, which begins at byte 0
    offset = run.state.offset if run.state is not None and not answer.next_attempt else 0
    if offset and run.state is not None and run.state.rank == Rank.FACT:
        offset += 1  # above the record that it answers, and below the next one
    return StateRow(
        id, proposed.type, proposed.name, now_us, rank, attempt, offset, proposed.message, details or None
    )


def _columns(row: Row, run: Run, state: StateRow, *, resuming: bool) -> Json:
    """Let the run enter ``state``, and return its state columns."""
    scheduled = _enter(row, run, state, resuming=resuming)
    columns = (history.flow_state_columns if run.is_flow else history.state_columns)(run, row["journal_id"])
    if row["expected_start_us"] is None:
        columns["expected_start_us"] = scheduled if scheduled is not None else state.t
    return columns


def _enter(row: Row, run: Run, state: StateRow, *, resuming: bool) -> int | None:
    """Let the run enter ``state``; return for when that plans it, if it does."""
    scheduled = time_of((state.details or {}).get("scheduled_time"))
    if row["journal_id"] is not None:
        report(run, state)
    else:
        _take(row, run, state, scheduled, resuming)
    return scheduled


def _take(row: Row, run: Run, state: StateRow, scheduled: int | None, resuming: bool) -> None:
    """Let a run that others report on enter a state: what was accepted is so."""
    times = enter(
        Times(row["run_count"], row["start_us"], row["end_us"], row["running_us"], row["running_since_us"]),
        state.type,
        state.t,
        scheduled=scheduled,
        resuming=resuming,
    )
    run.history = merge_history(run.history, state)[-HISTORY_LIMIT:]
    run.state, run.strength = state, strength_of(state)
    run.run_count, run.start, run.end, run.running_us = times.run_count, times.start, times.end, times.running


def _mirror(connection: Connection, row: Row, run: Run) -> None:
    """Show a subflow's state on the task run that stands for it in its parent."""
    placeholder = row["parent_task_run_id"]
    shown = task_runs.row_of(connection, placeholder) if placeholder else None
    if shown is None or shown["child_flow_run_id"] != run.id:
        return
    run.created = shown["created_us"]  # a history counts its times from the creation of its own row
    columns = history.state_columns(run, row["journal_id"])
    task_runs.change(connection, shown["id"], columns)


_CANCEL = frozenset(("CANCELLING", "CANCELLED"))


def has_left(state: StateRow | None) -> bool:
    """Say whether a run in this state has no process that could hear anything."""
    return state is not None and (state.type in TERMINAL or (state.type == "PAUSED" and _leaves(state)))


def _suspend(connection: Connection, row: Row, details: Json, asking: Asking) -> str | None:
    wanted = {name: details[name] for name in ("pause_key", "pause_timeout") if details.get(name)}
    return _command(connection, row, "suspend", wanted, asking)


def _command(
    connection: Connection, row: Row, action: str, payload: Json | None, asking: Asking
) -> str | None:
    """Ask something of the process behind a run's journal; return that journal, ``None`` when there is none."""
    journal: str | None = row["journal_id"]
    if journal is not None:
        journals.add_command(
            connection,
            journal,
            action=action,
            flow_run_id=row["id"],
            who=asking.who,
            asked_us=asking.now_us,
            payload=payload,
        )
    return journal
