"""Flow runs: read by id, listed by filters, made and changed for clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.engine import Connection

from headrace.model.clock import iso

from . import flows, locks, pages, run_json, tally_plans
from .bulk import alike, insert_many
from .filters import Matcher, Scope, Where, flow_run_order, state_parts
from .tables import flow_runs

Json = dict[str, Any]
Row = Mapping[str, Any]
_c = flow_runs.c

POLICY: Json = {
    "max_retries": 0,
    "retry_delay_seconds": 0,
    "retries": None,
    "retry_delay": None,
    "pause_keys": [],
    "resuming": False,
    "retry_type": None,
}
"""The contract's ``empirical_policy`` of a flow run that has none."""

_PLAIN = (
    "flow_id", "flow_version", "idempotency_key", "parent_flow_run_id", "parent_task_run_id", "deployment_id",
    "deployment_version", "work_pool_id", "work_pool_name", "work_queue_id", "work_queue_name",
    "infrastructure_document_id", "infrastructure_pid", "job_variables", "auto_scheduled", "created_by",
)  # fmt: skip


def to_json(row: Mapping[str, Any], flow_name: str | None, now_us: int) -> Json:
    """Return the contract's object of a row, with ``flow_name`` and ``parent_flow_run_id`` beside it."""
    return {
        **run_json.shared(row, now_us),
        **{name: row[name] for name in _PLAIN},
        "updated": iso(row["updated_us"]),
        "parameters": row["parameters"] or {},
        "context": row["context"] or {},
        "empirical_policy": policy(row),
        "flow_name": flow_name,
    }


def policy(row: Mapping[str, Any]) -> Json:
    """Return a row's ``empirical_policy`` as the contract has it.

    There a flow run's ``retry_delay`` is a whole number of seconds. What is not one is told in
    ``retry_delay_seconds``, for which clients have a number with a fraction.
    """
    kept = {**POLICY, **(row["empirical_policy"] or {})}
    delay = kept["retry_delay"]
    if isinstance(delay, list):
        delay = delay[0] if delay else None
    if isinstance(delay, float):
        whole = delay.is_integer()
        kept["retry_delay"] = int(delay) if whole else None
        kept["retry_delay_seconds"] = kept["retry_delay_seconds"] if whole else delay
    else:
        kept["retry_delay"] = delay
    return kept


def row_of(connection: Connection, id: str) -> Row | None:
    """Return a flow run's row, or ``None``."""
    return cast("Row | None", connection.execute(_one, {"wanted": id}).mappings().first())


def lock(connection: Connection, id: str) -> Row | None:
    """Return a flow run's row and keep others from writing it until the transaction ends."""
    return cast("Row | None", connection.execute(_one_held, {"wanted": id}).mappings().first())


# Made once: to build a statement takes longer than to carry it out.
_one = select(flow_runs).where(_c.id == bindparam("wanted"))
_one_held = locks.held(flow_runs, _one)


def get(connection: Connection, id: str, now_us: int, *, history: bool = False) -> Json | None:
    """Return a flow run, with ``state_history`` when ``history`` is asked for; ``None`` when there is none."""
    row = row_of(connection, id)
    if row is None:
        return None
    found = _all_json(connection, [row], now_us)[0]
    return {**found, "state_history": run_json.history_json(row)} if history else found


def lock_all(connection: Connection, ids: Sequence[str]) -> Sequence[Row]:
    """Return the rows of flow runs, by id, and keep others from writing them; those that others write now are left out."""
    statement = select(flow_runs).where(_c.id.in_(ids)).order_by(_c.id)
    return cast(
        "Sequence[Row]",
        connection.execute(locks.held(flow_runs, statement, skip_locked=True)).mappings().all(),
    )


def has_ended(connection: Connection, id: str) -> bool:
    """Say whether there is such a flow run, and it has ended."""
    return connection.execute(select(_c.id).where(_c.id == id, _c.end_us.is_not(None))).first() is not None


def in_order(connection: Connection, ids: Sequence[str], now_us: int) -> list[Json]:
    """Return the flow runs of these ids that are there, in the order of the ids."""
    if not ids:
        return []
    rows = cast("Sequence[Row]", connection.execute(select(flow_runs).where(_c.id.in_(ids))).mappings().all())
    place = {id: number for number, id in enumerate(ids)}
    return _all_json(connection, sorted(rows, key=lambda row: place[row["id"]]), now_us)


def by_idempotency_key(connection: Connection, flow_id: str, key: str, now_us: int) -> Json | None:
    """Return the run of a flow that was made with this key, or ``None``."""
    where = (_c.flow_id == flow_id, _c.idempotency_key == key)
    row = cast("Row | None", connection.execute(select(flow_runs).where(*where)).mappings().first())
    return None if row is None else _all_json(connection, [row], now_us)[0]


def find(
    connection: Connection, scope: Scope, *, sort: str, limit: int, offset: int, now_us: int
) -> list[Json]:
    """Return the flow runs that fit, in order."""
    where, parts = Matcher(connection.dialect.name).flow_runs(scope), state_parts(scope.flow_runs)
    if sort == "END_TIME_DESC":
        rows = _ended_first(connection, where, parts, limit, offset)
    else:
        rows = pages.rows(connection, flow_runs, where, parts, flow_run_order(sort), limit, offset)
    return _all_json(connection, rows, now_us)


def _ended_first(
    connection: Connection, where: Where, parts: Sequence[Where], limit: int, offset: int
) -> Sequence[Row]:
    # Two lists, because only runs that have ended are in the index of ends; the open ones come after them.
    ended = where & _c.end_us.is_not(None)
    last = flow_run_order("END_TIME_DESC")
    rows = list(pages.rows(connection, flow_runs, ended, parts, last, limit, offset))
    if len(rows) < limit:
        before = offset + len(rows) if rows else _count(connection, ended)
        open_ = where & _c.end_us.is_(None)
        newest, left = flow_run_order("ID_DESC"), limit - len(rows)
        rows += pages.rows(connection, flow_runs, open_, parts, newest, left, max(0, offset - before))
    return rows


def count(connection: Connection, scope: Scope) -> int:
    """Return how many flow runs fit."""
    matcher = Matcher(connection.dialect.name)
    return tally_plans.count(
        connection, scope, "flow_runs", lambda one: _count(connection, matcher.flow_runs(one))
    )


def _count(connection: Connection, where: Where) -> int:
    return connection.execute(select(func.count()).select_from(flow_runs).where(where)).scalar_one()


def ids(connection: Connection, scope: Scope, limit: int) -> list[str]:
    """Return the ids of the flow runs that fit, newest first."""
    where = Matcher(connection.dialect.name).flow_runs(scope)
    return list(connection.execute(select(_c.id).where(where).order_by(_c.id.desc()).limit(limit)).scalars())


def create(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, each of them columns."""
    for some in alike(rows):
        insert_many(connection, flow_runs, some)


def change(connection: Connection, id: str, changes: Mapping[str, Any]) -> bool:
    """Change columns; return whether there is such a run."""
    return connection.execute(update(flow_runs).where(_c.id == id).values(**changes)).rowcount > 0


def flow_name(connection: Connection, id: str) -> str | None:
    """Return the name of a flow run's flow."""
    flow_id = connection.execute(select(_c.flow_id).where(_c.id == id)).scalar()
    return None if flow_id is None else flows.names(connection, {flow_id}).get(flow_id)


def flow_names(connection: Connection, ids: set[str]) -> dict[str, str]:
    """Return ``{flow run id: its flow's name}``."""
    if not ids:
        return {}
    rows = connection.execute(select(_c.id, _c.flow_id).where(_c.id.in_(ids))).all()
    names = flows.names(connection, {row.flow_id for row in rows})
    return {row.id: names[row.flow_id] for row in rows}


def _all_json(connection: Connection, rows: Sequence[Row], now_us: int) -> list[Json]:
    # The names come by a query of their own: a join could make the database walk another index than the list's.
    names = flows.names(connection, {row["flow_id"] for row in rows})
    return [to_json(row, names.get(row["flow_id"]), now_us) for row in rows]
