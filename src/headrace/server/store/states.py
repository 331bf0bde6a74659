"""States by themselves: a run's row holds them all, so they are looked up through it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Table, or_, select
from sqlalchemy.engine import Connection

from . import run_json
from .history import history_of
from .tables import flow_runs, journals, task_runs

Json = dict[str, Any]


def of_flow_run(connection: Connection, id: str) -> list[Json]:
    """Return the states of a flow run, oldest first."""
    return _of(connection, flow_runs, id)


def of_task_run(connection: Connection, id: str) -> list[Json]:
    """Return the states of a task run, oldest first."""
    return _of(connection, task_runs, id)


def find_of_flow_runs(connection: Connection, id: str) -> Json | None:
    """Return a state of any flow run by the state's id, or ``None``."""
    return _find(connection, flow_runs, id)


def find_of_task_runs(connection: Connection, id: str) -> Json | None:
    """Return a state of any task run by the state's id, or ``None``."""
    return _find(connection, task_runs, id)


def _of(connection: Connection, table: Table, id: str) -> list[Json]:
    row = connection.execute(select(table).where(table.c.id == id)).mappings().first()
    return [run_json.state(state) for state in history_of(cast("Mapping[str, Any]", row))] if row else []


def _find(connection: Connection, table: Table, id: str) -> Json | None:
    # Walks the table: nothing asks this often enough for an index. A journal's states have ids that begin as
    # the journal's does (model.ids.state_id_at); others are written out in the history.
    c = journals.c
    owners = select(c.id).where(c.id.between(id[:24] + "0" * 12, id[:24] + "f" * 12))
    mine = or_(table.c.journal_id.in_(owners), table.c.history.contains(id))
    for row in connection.execute(select(table).where(mine)).mappings():
        for state in history_of(cast("Mapping[str, Any]", row)):
            if state.id == id:
                return run_json.state(state)
    return None
