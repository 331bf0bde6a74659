"""How far a batch of a journal reaches: the rows that it may write are locked in the server's order before it is folded.

The order is ``store/locks.py``'s. What is folded here has been read under these locks: nobody's answer to a proposal
and nobody's claim comes between.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.engine import Connection, RowMapping

from headrace.model import entries
from headrace.server.store import locks
from headrace.server.store import runs as rows
from headrace.server.store.runs import Known
from headrace.server.store.tables import deployments, flow_runs, flows

from .life import presumed_ids

Lines = Sequence[tuple[int, "entries.Entry | None"]]

_OF_RUNS = (entries.State, entries.TaskRun, entries.FlowRun, entries.Verdict, entries.Input)

KINDS = ("flow_runs", "task_runs")


def told(lines: Lines) -> set[str]:
    """Return the ids of the runs that lines tell of, those of task runs that stand for subflows among them."""
    of_runs = [entry for _, entry in lines if isinstance(entry, _OF_RUNS)]
    ids = {entry.run for entry in of_runs}
    return ids | {
        entry.placeholder for entry in of_runs if isinstance(entry, entries.FlowRun) and entry.placeholder
    }


def lock(connection: Connection, lines: Lines, presumed: Sequence[RowMapping]) -> dict[str, Known]:
    """Return the known runs that lines tell of, or that were presumed lost (given their journals' rows), all locked."""
    ids = told(lines)
    _lock_deployments(connection, {entry.run for _, entry in lines if isinstance(entry, entries.Verdict)})
    _keep_flows(
        connection,
        {entry.flow for _, entry in lines if isinstance(entry, entries.FlowRun) and not entry.planned},
        set(presumed_ids(presumed, "flow_runs")),
    )
    of_kinds = (ids | set(presumed_ids(presumed, kind)) for kind in KINDS)
    return rows.load(connection, *of_kinds)


def _keep_flows(connection: Connection, of_new: set[str], of_runs: set[str]) -> None:
    """Keep the flows of new runs, given by name, and of known runs.

    PostgreSQL checks a foreign key again when a transaction writes a row for the second time.
    """
    if locks.are_of_rows(connection) and (of_new or of_runs):
        known = select(flow_runs.c.flow_id).where(flow_runs.c.id.in_(of_runs))
        locks.refer(connection, flows, or_(flows.c.name.in_(of_new), flows.c.id.in_(known)))


def _lock_deployments(connection: Connection, judged: set[str]) -> None:
    """Lock the deployments whose brakes may count a crash; a verdict is one process's, so they are few."""
    owners = rows.deployments_of(connection, judged) if judged else []
    if owners:
        locks.hold(connection, deployments, deployments.c.id.in_(owners))
