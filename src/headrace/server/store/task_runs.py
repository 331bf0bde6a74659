"""Task runs: read by id, listed by filters, made and changed for clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from headrace.model.clock import iso

from . import bulk, flow_runs, locks, pages, run_json, tally_plans
from .filters import Matcher, Scope, rare_parts, task_run_order
from .tables import task_runs

Json = dict[str, Any]
Row = Mapping[str, Any]
_c = task_runs.c

POLICY: Json = {
    "max_retries": 0,
    "retry_delay_seconds": 0,
    "retries": None,
    "retry_delay": None,
    "retry_jitter_factor": None,
}
"""The contract's ``empirical_policy`` of a task run that has none."""

_PLAIN = ("flow_run_id", "task_key", "dynamic_key", "task_version", "cache_key", "flow_run_run_count")


def to_json(row: Mapping[str, Any], flow_name: str | None, now_us: int) -> Json:
    """Return the contract's object of a row, with ``flow_name`` beside it."""
    return {
        **run_json.shared(row, now_us),
        **{name: row[name] for name in _PLAIN},
        "updated": iso(row["state_us"] if row["state_us"] is not None else row["created_us"]),
        "cache_expiration": run_json.moment(row["cache_expiration_us"]),
        "task_inputs": row["task_inputs"] or {},
        "empirical_policy": {**POLICY, **(row["empirical_policy"] or {})},
        "flow_name": flow_name,
    }


def row_of(connection: Connection, id: str) -> Row | None:
    """Return a task run's row, or ``None``."""
    return cast("Row | None", connection.execute(select(task_runs).where(_c.id == id)).mappings().first())


def lock(connection: Connection, ids: Sequence[str]) -> dict[str, Row]:
    """Return task runs' rows by id, in order, and keep others from writing them until the transaction ends."""
    wanted = select(task_runs).where(_c.id.in_(ids)).order_by(_c.id)
    rows = connection.execute(locks.held(task_runs, wanted)).mappings()
    return {row["id"]: cast("Row", row) for row in rows}


def get(connection: Connection, id: str, now_us: int, *, history: bool = False) -> Json | None:
    """Return a task run, with ``state_history`` when ``history`` is asked for; ``None`` when there is none."""
    row = row_of(connection, id)
    if row is None:
        return None
    found = _all_json(connection, [row], now_us)[0]
    return {**found, "state_history": run_json.history_json(row)} if history else found


def by_keys(
    connection: Connection, flow_run_id: str, task_key: str, dynamic_key: str, now_us: int
) -> Json | None:
    """Return the task run that a client made with these keys, or ``None``. Walks ``uq_task_runs_keys``."""
    where = (
        _c.flow_run_id == flow_run_id,
        _c.task_key == task_key,
        _c.dynamic_key == dynamic_key,
        _c.journal_id.is_(None),
    )
    row = cast("Row | None", connection.execute(select(task_runs).where(*where)).mappings().first())
    return None if row is None else _all_json(connection, [row], now_us)[0]


def find(
    connection: Connection, scope: Scope, *, sort: str, limit: int, offset: int, now_us: int
) -> list[Json]:
    """Return the task runs that fit, in order."""
    where = Matcher(connection.dialect.name).task_runs(scope)
    parts = rare_parts(scope)
    rows = pages.rows(connection, task_runs, where, parts, task_run_order(sort), limit, offset)
    return _all_json(connection, rows, now_us)


def count(connection: Connection, scope: Scope) -> int:
    """Return how many task runs fit."""
    matcher = Matcher(connection.dialect.name)
    found = select(func.count()).select_from(task_runs)

    def rows(one: Scope) -> int:
        return connection.execute(found.where(matcher.task_runs(one))).scalar_one()

    return tally_plans.count(connection, scope, "task_runs", rows)


def create(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert a row; ``values`` are its columns."""
    connection.execute(insert(task_runs).values(**values))


def create_free(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Insert rows unless their ids or keys are taken; return the ids of those that were not. All name the same columns."""
    if not rows:
        return []
    savepoint = connection.begin_nested()
    try:
        bulk.insert_many(connection, task_runs, rows)
    except IntegrityError:
        savepoint.rollback()
        return [row["id"] for row in rows if not _create_if_free(connection, row)]
    savepoint.commit()
    return []


def _create_if_free(connection: Connection, values: Mapping[str, Any]) -> bool:
    dialect = import_module(
        f"{__package__}.{'sqlite' if connection.dialect.name == 'sqlite' else 'postgres'}"
    )
    statement = dialect.upsert(task_runs).values(**values).on_conflict_do_nothing()
    return bool(connection.execute(statement).rowcount > 0)


def change_many(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Change columns of runs that the transaction holds; each row is the columns that change, and the id."""
    for some in bulk.alike(row for row in rows if len(row) > 1):
        bulk.update_many(connection, task_runs, ("id",), some)


def change(connection: Connection, id: str, changes: Mapping[str, Any]) -> bool:
    """Change columns; return whether there is such a run."""
    return connection.execute(update(task_runs).where(_c.id == id).values(**changes)).rowcount > 0


def _all_json(connection: Connection, rows: Sequence[Row], now_us: int) -> list[Json]:
    # The names come by queries of their own: a join could make the database walk another index than the list's.
    names = flow_runs.flow_names(connection, {row["flow_run_id"] for row in rows if row["flow_run_id"]})
    return [to_json(row, names.get(row["flow_run_id"]), now_us) for row in rows]
