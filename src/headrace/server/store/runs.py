"""The rows of runs as journals need them: many at once, read and written whole."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from types import ModuleType
from typing import Any, NamedTuple

from sqlalchemy import Select, Table, bindparam, select, text
from sqlalchemy.engine import Connection, RowMapping

from headrace.model.runs import Run

from . import locks
from .bulk import insert_many, update_many
from .history import flow_state_columns, run_of, state_columns
from .tables import flow_runs, flows, task_runs

_FLOWS_NAMESPACE = uuid.UUID("8c1f0f2e-5d5b-5d0c-9a53-0d5f0e1c7a11")
_AT_ONCE = 500
"""Ids in one SELECT: below every database's limit of parameters."""

_STATE = (
    "state_type", "state_name", "state_us", "state", "history", "attempt", "level", "ord", "run_count",
    "start_us", "end_us", "running_us",
)  # fmt: skip


class Known(NamedTuple):
    """A run that has a row."""

    run: Run
    journal: str | None
    """The journal that owns it; ``None`` for a foreign client's."""
    placeholder: str | None = None
    """Of a flow run: the task run that stands for it in its parent."""
    child: str | None = None
    """Of a task run: the flow run that it stands for."""
    deployment: str | None = None
    """Of a flow run: what it is a run of."""
    queue: str | None = None
    policy: dict[str, Any] | None = None
    """Of a flow run: its ``empirical_policy`` as it is kept."""
    placeholder_us: int | None = None
    """When the task run was made that stands for it; ``None`` when that is not known, or there is none."""


def load(
    connection: Connection, flow_run_ids: Iterable[str], task_run_ids: Iterable[str]
) -> dict[str, Known]:
    """Return ``{id: run}`` of those that have a row, and keep others from writing them. Walks the primary keys.

    All that a transaction writes of known runs is to be loaded at once: so the rows are locked in order, those of
    the task runs that stand for the flow runs, too.
    """
    known: dict[str, Known] = {}
    of_flows = ("parent_task_run_id", "deployment_id", "work_queue_id", "empirical_policy")
    for row in _rows(connection, flow_runs, of_flows, flow_run_ids):
        known[row["id"]] = Known(
            run_of(row, is_flow=True),
            row["journal_id"],
            row["parent_task_run_id"],
            None,
            row["deployment_id"],
            row["work_queue_id"],
            row["empirical_policy"],
        )
    asked = set(task_run_ids) - known.keys()
    mirrors = {one.placeholder for one in known.values() if one.placeholder is not None}
    made_us: dict[str, int] = {}
    for row in _rows(connection, task_runs, ("child_flow_run_id",), asked | mirrors):
        made_us[row["id"]] = row["created_us"]
        if row["id"] in asked:
            known[row["id"]] = Known(
                run_of(row, is_flow=False), row["journal_id"], None, row["child_flow_run_id"]
            )
    for id, one in known.items():
        if one.placeholder in made_us:
            known[id] = one._replace(placeholder_us=made_us[one.placeholder])
    return known


def _rows(
    connection: Connection, table: Table, further: tuple[str, ...], ids: Iterable[str]
) -> Iterable[RowMapping]:
    wanted = sorted(set(ids))
    as_one = connection.dialect.name == "postgresql"
    statement = _load(table, further, as_one)
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        values = {"ids": "{" + ",".join(some) + "}" if as_one else some}
        yield from connection.execute(statement, values).mappings()


@cache  # to build a statement takes longer than to carry it out
def _load(table: Table, further: tuple[str, ...], as_one: bool) -> Select[Any]:
    """Return the statement; ``as_one``: its ids are one value, an array as PostgreSQL writes it.

    A batch names a thousand ids: written out one by one, they take more time than the rows.
    """
    columns = [table.c[name] for name in ("id", "created_us", "journal_id", *further, *_STATE)]
    if as_one:
        wanted = table.c.id.op("=")(text("ANY(CAST(:ids AS uuid[]))"))
    else:
        wanted = table.c.id.in_(bindparam("ids", expanding=True))
    return locks.held(table, select(*columns).where(wanted).order_by(table.c.id))


_NO_PLANS: Mapping[str, Mapping[str, Any]] = {}


def deployments_of(connection: Connection, flow_run_ids: Iterable[str]) -> list[str]:
    """Return the ids of the deployments that flow runs are of, which never change."""
    c = flow_runs.c
    statement = select(c.deployment_id).where(c.id.in_(list(flow_run_ids)), c.deployment_id.is_not(None))
    return list(connection.execute(statement.distinct()).scalars())


def open_runs(connection: Connection, journal: str) -> list[Known]:
    """Return the runs of a journal that have not ended, as :func:`load` does; task runs that stand for subflows follow those.

    Walks ``ix_flow_runs_open`` and ``ix_task_runs_open``.
    """
    f, t = flow_runs.c, task_runs.c
    of_flows = select(f.id).where(f.journal_id == journal, f.end_us.is_(None))
    of_tasks = select(t.id).where(t.journal_id == journal, t.end_us.is_(None), t.child_flow_run_id.is_(None))
    ids = [list(connection.execute(statement).scalars()) for statement in (of_flows, of_tasks)]
    return [known for known in load(connection, *ids).values() if known.run.is_open]


def flow_ids(connection: Connection, kind: ModuleType, made_us: Mapping[str, int]) -> dict[str, str]:
    """Return ``{name: id}`` of flows, making those that are new; ``made_us`` is ``{name: when it was first met}``.

    A new flow's id follows from its name, so that the same journal makes the same rows anywhere.
    """
    names = sorted(made_us)
    find = select(flows.c.name, flows.c.id).where(flows.c.name.in_(names))
    found = _pairs(connection, find)
    missing = [name for name in names if name not in found]
    if missing:
        rows = [
            {"id": str(uuid.uuid5(_FLOWS_NAMESPACE, name)), "name": name, "created_us": made_us[name],
             "updated_us": made_us[name]}
            for name in missing
        ]  # fmt: skip
        connection.execute(kind.upsert(flows).on_conflict_do_nothing(), rows)
        found = _pairs(connection, find)
    return found


def _pairs(connection: Connection, statement: Select[str, str]) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(statement)}


def insert_flow_runs(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows of flow runs; all of them name the same columns."""
    insert_many(connection, flow_runs, rows)


def insert_task_runs(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows of task runs; all of them name the same columns."""
    insert_many(connection, task_runs, rows)


def save_states(
    connection: Connection,
    changed: Iterable[Known],
    now_us: int,
    plans: Mapping[str, Mapping[str, Any]] = _NO_PLANS,
) -> None:
    """Write the state columns of runs that have rows, and those of the task runs that stand for flow runs.

    ``plans`` are columns beside, ``{flow run: columns}``: what the processes of planned runs know of them. The
    transaction holds all of these rows already: :func:`load` does, or who has locked the runs himself. It writes each
    once; PostgreSQL checks the foreign keys of a row again that is written twice.
    """
    of_flows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    of_tasks = []
    for known in changed:
        if known.run.is_flow:
            plan = plans.get(known.run.id, {})
            whole = {**flow_state_columns(known.run, known.journal), **plan}
            of_flows.setdefault(tuple(plan), []).append({"id": known.run.id, "updated_us": now_us, **whole})
            if known.placeholder is not None:
                of_tasks.append({"id": known.placeholder, "child_flow_run_id": known.run.id, **_shown(known)})
        else:
            columns = state_columns(known.run, known.journal)
            of_tasks.append({"id": known.run.id, "child_flow_run_id": None, **columns})
    for alike in of_flows.values():
        update_many(connection, flow_runs, ("id",), sorted(alike, key=itemgetter("id")))
    # A row mirrors a flow run only if it was made for it: whatever a journal claims, no other row is written over.
    mirrored = ("id", "child_flow_run_id")
    update_many(connection, task_runs, mirrored, sorted(of_tasks, key=itemgetter("id")))


def _shown(known: Known) -> dict[str, Any]:
    """Return the state columns of the task run that stands for a flow run: its times count from its own making."""
    run, made_us = known.run, known.run.created
    run.created = made_us if known.placeholder_us is None else known.placeholder_us
    columns = state_columns(run, known.journal)
    run.created = made_us
    return columns
