"""Writing down what batches of journals came to: one kind of row after the other, for all of them in one statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from sqlalchemy.engine import Connection

from headrace.model import entries
from headrace.model.runs import Run
from headrace.server.store import inputs, journals, logs
from headrace.server.store import runs as rows

from . import aftermath
from .intake import Intake
from .made import flow_run_row, stand_in_row, task_run_row


def save(
    connection: Connection, kind: ModuleType, intakes: Sequence[Intake], new_id: Callable[[int], str]
) -> None:
    """Write what batches of different journals came to, and how much of each journal is held.

    They tell of different runs, and the rows that they may write are locked (``reach.py``).
    """
    if not intakes:
        return
    now_us = max(one.now_us for one in intakes)
    _end_attempts(connection, intakes, new_id, now_us)
    _insert_runs(connection, kind, intakes)
    seen = [known for one in intakes for known in one.seen()]
    plans = {run: columns for one in intakes for run, columns in one.plans().items()}
    rows.save_states(connection, seen, now_us, plans)
    logs.insert_chunks(connection, [chunk for one in intakes for chunk in one.chunks()])
    logs.compact(connection, [(run, one.journal) for one in intakes for run in one.scattered()])
    for one in intakes:
        for id, entry in one.inputs():
            inputs.put(connection, entry.run, entry.key, entry.value, id=id, now_us=entry.t)
    for one in sorted(intakes, key=lambda one: one.journal):
        journals.acknowledge(connection, one.journal, one.asked)
    journals.save(connection, [one.journal_row() for one in intakes])


def _end_attempts(
    connection: Connection, intakes: Sequence[Intake], new_id: Callable[[int], str], now_us: int
) -> None:
    """Let what follows a crash follow: another attempt, or the brake; note where room was made."""
    teller = {known.run.id: one for one in intakes for known in one.seen()}
    crashed = [
        known for one in intakes for known in one.seen() if known.run.is_flow and known.journal == one.journal
    ]
    policies = {run: policy for one in intakes for run, policy in one.policies().items()}
    for run, line in aftermath.follow(connection, crashed, policies, new_id, now_us):
        teller[run].log(run, line)
    for one in intakes:
        one.note_openings()


def _insert_runs(connection: Connection, kind: ModuleType, intakes: Sequence[Intake]) -> None:
    of_flows: list[tuple[Intake, Run, entries.FlowRun]] = []
    of_tasks: list[dict[str, Any]] = []
    for one in intakes:
        for run in one.made():
            if isinstance(run.entry, entries.FlowRun):
                of_flows.append((one, run, run.entry))
            elif isinstance(run.entry, entries.TaskRun):
                of_tasks.append(task_run_row(run, run.entry, one.journal))
    if of_flows:
        made_us = {entry.flow: run.created for _, run, entry in reversed(of_flows)}
        ids = rows.flow_ids(connection, kind, made_us)
        of_runs = [flow_run_row(run, e, ids[e.flow], one.journal, one.now_us) for one, run, e in of_flows]
        rows.insert_flow_runs(connection, of_runs)
        of_tasks += [
            stand_in_row(run, e, one.journal) for one, run, e in of_flows if e.placeholder is not None
        ]
    rows.insert_task_runs(connection, of_tasks)
