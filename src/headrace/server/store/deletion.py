"""What goes when a flow or a run is deleted: with it, all that belongs to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select
from sqlalchemy.engine import Connection

from . import locks
from .tables import (
    commands,
    deployment_schedules,
    deployments,
    events,
    flow_run_inputs,
    flow_runs,
    flows,
    log_chunks,
    task_runs,
)

_AT_ONCE = 500
"""Ids in one statement: below every database's limit of parameters."""


def delete_flows(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Delete flows with their deployments and runs; return which there were."""
    of_flows = deployments.c.flow_id.in_(ids)
    owned = locks.hold_to_delete(connection, deployments, of_flows)
    locks.hold_to_delete(connection, deployment_schedules, deployment_schedules.c.deployment_id.in_(owned))
    known = locks.hold_to_delete(connection, flows, flows.c.id.in_(ids))
    if connection.execute(select(deployments.c.id).where(of_flows, deployments.c.id.not_in(owned))).first():
        raise locks.LostRace  # it was made before the flow was locked, and comes before it in the order
    delete_flow_runs(connection, locks.hold_to_delete(connection, flow_runs, flow_runs.c.flow_id.in_(known)))
    connection.execute(delete(flows).where(flows.c.id.in_(known)))
    return [id for id in ids if id in set(known)]


def delete_flow_runs(connection: Connection, ids: Iterable[str]) -> int:
    """Delete flow runs with their task runs, logs, inputs, commands and events; return how many there were.

    The runs of subflows stay: they are runs of their own. Walks ``ix_task_runs_flow_run`` and
    ``ix_commands_flow_run``.
    """
    wanted, deleted = sorted(set(ids)), 0
    for start in range(0, len(wanted), _AT_ONCE):
        locks.hold_to_delete(connection, flow_runs, flow_runs.c.id.in_(wanted[start : start + _AT_ONCE]))
    for table in locks.in_order(task_runs, log_chunks, flow_run_inputs, commands, events):
        for start in range(0, len(wanted), _AT_ONCE):
            locks.remove(connection, table, table.c.flow_run_id.in_(wanted[start : start + _AT_ONCE]))
    for start in range(0, len(wanted), _AT_ONCE):
        some = flow_runs.c.id.in_(wanted[start : start + _AT_ONCE])
        deleted += connection.execute(delete(flow_runs).where(some)).rowcount
    return deleted


def delete_task_run(connection: Connection, id: str) -> bool:
    """Delete a task run with its logs; return whether there was one."""
    locks.hold_to_delete(connection, task_runs, task_runs.c.id == id)
    # lines of chunks that several task runs share stay with the flow run
    locks.remove(connection, log_chunks, log_chunks.c.task_run_id == id)
    return connection.execute(delete(task_runs).where(task_runs.c.id == id)).rowcount > 0
