"""Serving: which due runs somebody who asks could be given, under the limits in force.

With ``lock``, what the answer rests on is locked, in the server's one order (``locks.py``); without, it is only looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Select, bindparam, select
from sqlalchemy.engine import Connection

from headrace.model.allocation import Allocation, Due, Room
from headrace.model.allocation import allocate as share_out

from . import locks, slots
from .tables import deployments, flow_runs, work_pools, work_queues

Row = Mapping[str, Any]
_r = flow_runs.c
_q = work_queues.c
_d = deployments.c

_AHEAD = 4
"""Candidates that are looked at for each that a worker takes, where deployments have limits: so those that wait hide few."""

ROUNDS = 20
"""How often candidates of full deployments are passed over for others."""

MOST = 100
"""Runs that one claim gives at most."""


class Asker(NamedTuple):
    """A worker that asks for runs: of queues of a pool, or of deployments that it serves itself."""

    worker_id: str
    """One life of it."""
    worker_name: str
    pool_id: str | None
    queues: tuple[str, ...] | None
    """Names of queues; ``None``: all of the pool."""
    deployments: tuple[str, ...]
    limit: int


class Window(NamedTuple):
    """For which times runs may be planned that are looked at, in microseconds since 1970."""

    before_us: int = 2**63 - 1
    after_us: int = 0


class Scope(NamedTuple):
    """Where an asker's runs come from, in the order in which they are served, and the limits in force."""

    groups: list[list[str]]
    """Ids of queues by priority, or of all deployments."""
    column: ColumnElement[str]
    pool_free: int | None
    queues: dict[str, Room]
    pool: Row


def scope(connection: Connection, asker: Asker, *, lock: bool) -> Scope:
    """Return where an asker's runs come from, and what room there is."""
    if asker.pool_id is None:
        return Scope([list(asker.deployments)] if asker.deployments else [], _r.deployment_id, None, {}, {})
    pool = connection.execute(_pool, {"wanted": asker.pool_id}).mappings().first()
    if pool is None or pool["is_paused"]:
        return Scope([], _r.work_queue_id, None, {}, {} if pool is None else cast("Row", pool))
    if lock and pool["concurrency_limit"] is not None:
        locks.hold(connection, work_pools, work_pools.c.id == asker.pool_id)
    rows = _queues(connection, asker)
    limited = {row.id: row.concurrency_limit for row in rows if row.concurrency_limit is not None}
    if lock and limited:
        locks.hold(connection, work_queues, _q.id.in_(limited))
    used = slots.of_queues(connection, limited)
    rooms = {id: Room(limit - used.get(id, 0)) for id, limit in limited.items()}
    pool_free = None
    if pool["concurrency_limit"] is not None:
        pool_free = pool["concurrency_limit"] - slots.of_pools(connection, [asker.pool_id]).get(
            asker.pool_id, 0
        )
    return Scope([[row.id] for row in rows], _r.work_queue_id, pool_free, rooms, cast("Row", pool))


# Statements are made once: to build one takes longer than to carry it out.
_pool = select(work_pools.c.concurrency_limit, work_pools.c.is_paused, work_pools.c.base_job_template).where(
    work_pools.c.id == bindparam("wanted")
)


def _queues(connection: Connection, asker: Asker) -> Sequence[Any]:
    named = asker.queues is not None
    values = {"pool": asker.pool_id} | ({"names": list(asker.queues or ())} if named else {})
    return connection.execute(_select_queues(named), values).all()


@cache
def _select_queues(named: bool) -> Select[Any]:
    statement = select(_q.id, _q.concurrency_limit).where(
        _q.work_pool_id == bindparam("pool"), _q.is_paused.is_(False)
    )
    if named:
        statement = statement.where(_q.name.in_(bindparam("names", expanding=True)))
    return statement.order_by(_q.priority, _q.id)


def allocate(
    connection: Connection,
    asker: Asker,
    scope: Scope,
    window: Window,
    *,
    lock: bool,
    most: int = MOST,
    passed: Collection[str] = (),
) -> Allocation:
    """Work out who is served; candidates that only wait for a full deployment are passed over for others.

    So are the runs ``passed``. Deployments are locked once, in order: with runs passed, those with a limit have no room.
    Whether there may be ``more`` is said rather too often than too rarely.
    """
    capacity = min(asker.limit, most)
    if capacity <= 0 or (scope.pool_free is not None and scope.pool_free <= 0):
        return Allocation([], [])
    found, limits, rows = _candidates(connection, scope, window, capacity, passed)
    candidates = [run for _, due in found for run in due]
    if lock:  # all at once, so that they are locked in order; only what is counted then is exact
        met = {run.deployment for run in candidates if run.deployment is not None}
        limited = [id for id in met if limits[id].free < _UNLIMITED]
        if limited and not passed:
            locks.hold(connection, deployments, _d.id.in_(limited))
        limits |= dict.fromkeys(limited, Room(0)) if passed else _deployment_rooms(connection, limited)
    rooms = {id: room for id, room in limits.items() if room.free < _UNLIMITED}
    shared = share_out(
        candidates, capacity=capacity, pool=scope.pool_free, queues=scope.queues, deployments=rooms
    )
    unseen = [group for group, due in found if len(due) >= rows]
    return shared._replace(more=shared.more or _may_hold_more(scope, unseen, shared.taken, candidates))


class _Candidates(NamedTuple):
    """Runs that could be given, as far as was looked."""

    found: list[tuple[list[str], list[Due]]]
    """Of each group that has room, in the order in which they are served."""
    limits: dict[str, Room]
    """The room of their deployments."""
    rows: int
    """How many were asked for of each group at most."""


def _candidates(
    connection: Connection, scope: Scope, window: Window, capacity: int, passed: Collection[str]
) -> _Candidates:
    """Look at one run more than is taken, which tells that there are more; at more of them where deployments have limits."""
    limits: dict[str, Room] = {}
    full: set[str] = set()
    rows = capacity + 1
    for _ in range(ROUNDS):
        found = [
            (group, _due_in(connection, scope.column, group, window, rows, full, passed))
            for group in scope.groups
            if _may_serve(scope, group)
        ]
        met = {run.deployment for _, due in found for run in due if run.deployment is not None}
        limits |= _deployment_rooms(connection, met - limits.keys())
        cut_short = any(len(due) >= rows for _, due in found)
        if cut_short and rows < capacity * _AHEAD and any(room.free < _UNLIMITED for room in limits.values()):
            rows = capacity * _AHEAD
            continue
        waiting = {id for id, room in limits.items() if room.free <= 0 and not room.cancels} - full
        if not waiting & met:
            break
        full |= waiting
    return _Candidates(found, limits, rows)


def _may_hold_more(
    scope: Scope, groups: list[list[str]], taken: Collection[str], candidates: Sequence[Due]
) -> bool:
    """Say whether runs could begin that were not even looked at, behind those of these groups that were."""
    if scope.pool_free is not None and len(taken) >= scope.pool_free:
        return False
    given = set(taken)
    of_queues = Counter(run.queue for run in candidates if run.id in given)
    return any(
        id not in scope.queues or of_queues[id] < scope.queues[id].free for group in groups for id in group
    )


_UNLIMITED = 1 << 40


def _may_serve(scope: Scope, group: list[str]) -> bool:
    return not all(id in scope.queues and scope.queues[id].free <= 0 for id in group)


def _due_in(
    connection: Connection,
    column: ColumnElement[str],
    ids: list[str],
    window: Window,
    limit: int,
    full: set[str],
    passed: Collection[str],
) -> list[Due]:
    values = {"ids": ids, "before": window.before_us, "most": limit}
    further = {"after": window.after_us, "full": list(full), "passed": list(passed)}
    asked = {name: value for name, value in further.items() if value}
    return [Due(*row) for row in connection.execute(_select_due(column, frozenset(asked)), values | asked)]


@cache
def _select_due(column: ColumnElement[str], asked: frozenset[str]) -> Select[Any]:
    where = [*_waiting(column), _r.next_scheduled_us <= bindparam("before")]
    if "after" in asked:
        where.append(_r.next_scheduled_us >= bindparam("after"))
    if "full" in asked:
        is_full = _r.deployment_id.in_(bindparam("full", expanding=True))
        where.append(_r.deployment_id.is_(None) | ~is_full)
    if "passed" in asked:
        where.append(_r.id.not_in(bindparam("passed", expanding=True)))
    statement = select(_r.id, _r.work_queue_id, _r.deployment_id).where(*where)
    return statement.order_by(_r.next_scheduled_us, _r.id).limit(bindparam("most"))


def _waiting(column: ColumnElement[str]) -> list[ColumnElement[bool]]:
    """Return the conditions of runs that nobody carries out: planned, and not waiting in a process of their own."""
    at_one = column.in_(bindparam("ids", expanding=True))
    return [at_one, _r.end_us.is_(None), _r.state_type == "SCHEDULED", _r.holds_slot.is_(False)]


def next_us(connection: Connection, scope: Scope, now_us: int) -> int | None:
    """Return when the next run is planned for that is not due yet, of those places that have room."""
    ids = [id for group in scope.groups if _may_serve(scope, group) for id in group]
    if not ids:
        return None
    return connection.execute(_select_next(scope.column), {"ids": ids, "now": now_us}).scalar()


@cache
def _select_next(column: ColumnElement[str]) -> Select[Any]:
    where = [*_waiting(column), _r.next_scheduled_us > bindparam("now")]
    return select(_r.next_scheduled_us).where(*where).order_by(_r.next_scheduled_us).limit(1)


def _deployment_rooms(connection: Connection, ids: Collection[str]) -> dict[str, Room]:
    """Return the room of deployments; those without a limit have room for any number."""
    if not ids:
        return {}
    limited = {row.id: row for row in connection.execute(_limited, {"ids": list(ids)})}
    used = slots.of_deployments(connection, limited)
    rooms = dict.fromkeys(ids, Room(_UNLIMITED))
    for id, row in limited.items():
        strategy = (row.concurrency_options or {}).get("collision_strategy", "ENQUEUE")
        rooms[id] = Room(row.concurrency_limit - used.get(id, 0), strategy == "CANCEL_NEW")
    return rooms


_limited = select(_d.id, _d.concurrency_limit, _d.concurrency_options).where(
    _d.id.in_(bindparam("ids", expanding=True)), _d.concurrency_limit.is_not(None)
)
