"""What goes when a flow or a run is deleted: with it, all that belongs to it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, select
from sqlalchemy.engine import Connection

from .tables import commands, events, flow_run_inputs, flow_runs, flows, log_chunks, task_runs

_AT_ONCE = 500
"""Ids in one statement: below every database's limit of parameters."""


def delete_flow(connection: Connection, id: str) -> bool:
    """Delete a flow with its runs; return whether there was one."""
    runs = connection.execute(select(flow_runs.c.id).where(flow_runs.c.flow_id == id)).scalars().all()
    delete_flow_runs(connection, runs)
    return connection.execute(delete(flows).where(flows.c.id == id)).rowcount > 0


def delete_flow_runs(connection: Connection, ids: Iterable[str]) -> int:
    """Delete flow runs with their task runs, logs, inputs, commands and events; return how many there were.

    The runs of subflows stay: they are runs of their own.
    """
    wanted, deleted = sorted(set(ids)), 0
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        for table in (task_runs, log_chunks, flow_run_inputs, commands, events):
            connection.execute(delete(table).where(table.c.flow_run_id.in_(some)))
        deleted += connection.execute(delete(flow_runs).where(flow_runs.c.id.in_(some))).rowcount
    return deleted


def delete_task_run(connection: Connection, id: str) -> bool:
    """Delete a task run with its logs; return whether there was one."""
    # lines of chunks that several task runs share stay with the flow run
    connection.execute(delete(log_chunks).where(log_chunks.c.task_run_id == id))
    return connection.execute(delete(task_runs).where(task_runs.c.id == id)).rowcount > 0
