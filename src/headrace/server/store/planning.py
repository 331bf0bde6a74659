"""What the scheduler reads and writes: schedules in force, how far each is planned, and the runs that it plans."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.engine import Connection

from . import deletion, locks
from .tables import deployment_schedules, deployments, flow_runs, flows, work_pools, work_queues

Json = dict[str, Any]
Row = Mapping[str, Any]
_s = deployment_schedules.c
_d = deployments.c
_r = flow_runs.c

_AT_ONCE = 500
"""Ids in one SELECT: below every database's limit of parameters."""

BLANK: Json = dict.fromkeys(column.name for column in flow_runs.columns)
"""The columns of a run of which nothing is said."""

_in_force = (_s.active, _d.paused.is_(False))
_joined = deployment_schedules.join(deployments, _d.id == _s.deployment_id)


class Mark(NamedTuple):
    """How far a schedule is planned, and when somebody last changed it; both change whenever there is news of it."""

    planned_until_us: int | None
    updated_us: int


def marks(connection: Connection) -> dict[str, Mark]:
    """Return ``{schedule id: its mark}`` of the schedules that are in force."""
    columns = (_s.id, _s.planned_until_us, _s.updated_us)
    rows = connection.execute(select(*columns).select_from(_joined).where(*_in_force))
    return {row[0]: Mark(row[1], row[2]) for row in rows}


def of_deployment(connection: Connection, deployment_id: str) -> list[str]:
    """Return the ids of a deployment's schedules that are in force."""
    where = (_s.deployment_id == deployment_id, *_in_force)
    return list(connection.execute(select(_s.id).select_from(_joined).where(*where)).scalars())


def lock(connection: Connection, ids: Collection[str]) -> list[Row]:
    """Return schedules in force with all that a run of theirs needs, and let nobody change them meanwhile.

    Holds the deployments' rows, by id, which whoever changes a schedule takes first.
    """
    owners = select(_s.deployment_id).where(_s.id.in_(ids))
    mine = select(_d.id).where(_d.id.in_(owners)).order_by(_d.id)
    connection.execute(locks.shared(deployments, mine)).all()
    placed = (
        _joined.join(flows, flows.c.id == _d.flow_id)
        .outerjoin(work_queues, work_queues.c.id == _d.work_queue_id)
        .outerjoin(work_pools, work_pools.c.id == work_queues.c.work_pool_id)
    )
    columns = (
        _s.id, _s.schedule, _s.max_scheduled_runs, _s.planned_until_us, _s.updated_us,
        _s.parameters.label("own_parameters"), _d.id.label("deployment_id"), _d.name.label("deployment_name"),
        _d.flow_id, _d.version, _d.parameters, _d.tags, _d.labels, _d.work_queue_id,
        flows.c.name.label("flow_name"), work_queues.c.name.label("work_queue_name"),
        work_pools.c.id.label("work_pool_id"), work_pools.c.name.label("work_pool_name"),
    )  # fmt: skip
    statement = select(*columns).select_from(placed).where(_s.id.in_(ids), *_in_force)
    rows = connection.execute(statement.order_by(_s.deployment_id, _s.id)).mappings()
    return cast("list[Row]", rows.all())


def insert_new(connection: Connection, kind: ModuleType, rows: Sequence[Json]) -> list[Json]:
    """Insert runs whose times are not planned yet; return those rows. All of them name the same columns."""
    if not rows:
        return []
    statement = kind.upsert(flow_runs).on_conflict_do_nothing()
    # of an INSERT, SQLAlchemy forgets the count otherwise
    done = connection.execute(statement, rows, execution_options={"preserve_rowcount": True})
    if done.rowcount == len(rows):
        return list(rows)
    made = _known(connection, [row["id"] for row in rows])
    return [row for row in rows if row["id"] in made]


def _known(connection: Connection, ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(ids), _AT_ONCE):
        wanted = _r.id.in_(ids[start : start + _AT_ONCE])
        found.update(connection.execute(select(_r.id).where(wanted)).scalars())
    return found


def move_marks(connection: Connection, until_us: Mapping[str, int]) -> None:
    """Note up to when schedules are planned: ``{schedule id: microseconds}``."""
    rows = [{"row": id, "until": at} for id, at in sorted(until_us.items())]
    if rows:
        connection.execute(_move_mark, rows)


_move_mark = (
    update(deployment_schedules).where(_s.id == bindparam("row")).values(planned_until_us=bindparam("until"))
)


def overdue(connection: Connection, since_us: int, until_us: int) -> dict[str, list[tuple[int, str]]]:
    """Return ``{schedule id: [(time, run), …]}`` of planned runs that nobody took, by time, for a stretch of time.

    Walks ``ix_flow_runs_state_type_expected_start``.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    statement = select(_r.schedule_id, _r.expected_start_us, _r.id).where(
        *_untouched(), _r.expected_start_us.between(since_us, until_us)
    )
    for row in connection.execute(statement.order_by(_r.expected_start_us, _r.id)):
        found.setdefault(row[0], []).append((row[1], row[2]))
    return found


def drop(connection: Connection, ids: Collection[str]) -> int:
    """Delete runs of schedules, some hundreds at most, that nobody has taken meanwhile; return how many there were."""
    mine = (_r.id.in_(ids), *_untouched())
    found = locks.hold_to_delete(connection, flow_runs, *mine, skip_locked=True)
    return deletion.delete_flow_runs(connection, found)


def drop_planned(
    connection: Connection,
    deployment_id: str,
    of_schedules: Collection[str] | None = None,
    *,
    skip_locked: bool = False,
) -> int:
    """Delete the runs of a deployment that its schedules planned and that nobody has taken; return how many.

    Called when its schedules change or it is paused; ``of_schedules`` are those that changed, ``None`` means all.
    Who holds runs already passes over what others hold (``skip_locked``).
    Walks ``ix_flow_runs_deployment_open`` or, on SQLite, one of ``ix_flow_runs_state_type_*``.
    """
    where = [
        _r.deployment_id == deployment_id,
        _r.end_us.is_(None),
        _r.state_type == "SCHEDULED",
        _r.auto_scheduled,
        _r.start_us.is_(None),
    ]
    if of_schedules is not None:
        where.append(_r.schedule_id.in_(of_schedules))
    found = locks.hold_to_delete(connection, flow_runs, *where, skip_locked=skip_locked)
    return deletion.delete_flow_runs(connection, found)


def _untouched() -> list[ColumnElement[bool]]:
    """Return the conditions of runs that a schedule planned and that were never begun."""
    return [
        _r.state_type == "SCHEDULED",
        _r.state_name.in_(("Scheduled", "Late")),
        _r.schedule_id.is_not(None),
        _r.auto_scheduled,
        _r.run_count == 0,
        _r.start_us.is_(None),
        _r.end_us.is_(None),
    ]
