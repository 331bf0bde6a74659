"""Claims: due runs are given to a worker, each attempt with a journal of its own, in one short transaction.

Locks are taken in the server's one order (``locks.py``): pool, queues, deployments, runs, each kind by id. Runs are taken
with SKIP LOCKED: two servers that hand out at once pass each other by. Looking (:func:`look`) writes and locks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection

from headrace.model import orders
from headrace.model.allocation import Allocation, deal
from headrace.model.attempts import tries_used
from headrace.model.clock import iso
from headrace.model.ownership import is_unconfirmed
from headrace.model.resolve import Rank, StateRow
from headrace.model.runs import Run, report

from . import answered, flows, history, locks, runs, serving
from .bulk import insert_many
from .serving import Asker, Row, Scope, Window
from .tables import deployments, flow_runs, journals, work_pools

_r = flow_runs.c
_d = deployments.c
_j = journals.c


class Look(NamedTuple):
    """What there is to do for an asker."""

    places: list[str]
    """Ids of the queues, or of the deployments, that it serves: what it waits for."""
    ready: bool
    """Whether runs could be given to it now."""
    next_us: int | None
    """When the next run is planned for that is not due yet, where there is room for it; only said when nothing is ready."""
    pool: Row
    """The pool as it is now: ``is_paused``, ``base_job_template``; empty without one."""


def look(connection: Connection, asker: Asker, now_us: int) -> Look:
    """Say what there is to do, without writing or locking anything."""
    scope = serving.scope(connection, asker, lock=False)
    places = [id for group in scope.groups for id in group]
    if not places:
        return Look(places, False, None, scope.pool)
    found = serving.allocate(connection, asker, scope, Window(now_us), lock=False)
    ready = bool(found.taken or found.cancelled)
    return Look(places, ready, None if ready else serving.next_us(connection, scope, now_us), scope.pool)


def claim(
    connection: Connection, askers: Sequence[Asker], now_us: int, *, new_id: Callable[[], str]
) -> Given:
    """Give due runs to those who ask for runs of the same places, each his share, and end those that a limit cancels.

    Says as well what is left, as :func:`look` does: who was told that there is something new need not look first.
    """
    most = [min(asker.limit, serving.MOST) for asker in askers]
    scope = serving.scope(connection, askers[0], lock=True)
    found, rows = _take(connection, askers[0]._replace(limit=sum(most)), scope, now_us)
    shares = deal([rows[id] for id in found.taken if id in rows], most)
    begun = [
        _Begun(number, row, _begin(row, asker, now_us, new_id))
        for number, (asker, share) in enumerate(zip(askers, shares, strict=True))
        for row in share
    ]
    ended = [_cancel(rows[id], now_us, new_id) for id in found.cancelled if id in rows]
    insert_many(connection, journals, [_journal(one.known, askers[one.asker], now_us) for one in begun])
    runs.save_states(connection, [*(one.known for one in begun), *ended], now_us)
    told = _claims(connection, [(one.row, str(one.known.journal)) for one in begun])
    given: list[list[orders.Claim]] = [[] for _ in askers]
    for one, claimed in zip(begun, told, strict=True):
        given[one.asker].append(claimed)
    places = [id for group in scope.groups for id in group]
    next_us = None if begun or found.more else serving.next_us(connection, scope, now_us)
    return Given(given, Look(places, found.more, next_us, scope.pool))


class Given(NamedTuple):
    """What became of a claim."""

    to: list[list[orders.Claim]]
    """The runs that each of those who asked was given."""
    left: Look
    """What there is for others: it is ready when some are left, or somebody holds them at this moment."""


class _Begun(NamedTuple):
    """A run that is given away."""

    asker: int
    """To whom, by his place among those who ask."""
    row: Row
    known: runs.Known


def _take(
    connection: Connection, asker: Asker, scope: Scope, now_us: int
) -> tuple[Allocation, dict[str, Row]]:
    """Allocate runs and lock them; when others hold all of them at this moment, those behind them are looked at."""
    passed: set[str] = set()
    for _ in range(serving.ROUNDS):
        found = serving.allocate(
            connection, asker, scope, Window(now_us), lock=True, most=asker.limit, passed=passed
        )
        wanted = [*found.taken, *found.cancelled]
        rows = _lock_runs(connection, wanted)
        if rows or not wanted:
            break
        passed.update(wanted)
    held = passed or len(rows) < len(wanted)  # by somebody who may let go of them
    return found._replace(more=found.more or bool(held)), rows


class Unbegun(NamedTuple):
    """Attempts of a worker of which nothing was written yet."""

    lost: list[orders.Claim]
    """Those that it does not know of: the answer was lost on its way."""
    starting: list[str]
    """The journals of the others, which it is about to start."""


def unbegun(connection: Connection, worker_id: str, have: Collection[str]) -> Unbegun:
    """Return the attempts of a worker that have not begun. Walks ``ix_journals_claimed``."""
    found = list(connection.execute(_unbegun, {"worker": worker_id}).scalars())
    lost, starting = [id for id in found if id not in have], [id for id in found if id in have]
    if not lost:
        return Unbegun([], starting)
    statement = select(flow_runs).where(_r.journal_id.in_(lost), _r.state_type == "PENDING")
    rows = cast("Sequence[Row]", connection.execute(statement).mappings().all())
    return Unbegun(_claims(connection, [(row, row["journal_id"]) for row in rows]), starting)


_unbegun = select(_j.id).where(_j.worker_id == bindparam("worker"), _j.offset == 0, _j.closed_us.is_(None))


class Word(NamedTuple):
    """A worker's word that it has been given attempts and begins them now."""

    worker_id: str
    journals: tuple[str, ...]


def confirm(connection: Connection, words: Sequence[Word], now_us: int) -> list[list[str]]:
    """Take the words of workers; return, for each, the journals of those attempts that are still its own."""
    told = {journal for word in words for journal in word.journals}
    rows = connection.execute(_told, {"ids": sorted(told)}).all()
    owner = {row.id: row.worker_id for row in rows}
    kept = [[id for id in word.journals if owner.get(id) == word.worker_id] for word in words]
    ids = sorted({id for own in kept for id in own})
    if ids:
        connection.execute(_beat, {"ids": ids, "at": now_us})
    return kept


_told = locks.held(
    journals,
    select(_j.id, _j.worker_id)
    .where(_j.id.in_(bindparam("ids", expanding=True)), _j.closed_us.is_(None))
    .order_by(_j.id),
)
_beat = (
    update(journals)
    .where(_j.id.in_(bindparam("ids", expanding=True)))
    .values(leased=True, last_seen_us=bindparam("at", type_=_j.last_seen_us.type))
)


def unconfirmed(connection: Connection, now_us: int) -> list[str]:
    """Return the journals of attempts that nobody has confirmed in the time that there was for it.

    Walks ``ix_journals_claimed``.
    """
    rows = connection.execute(_unconfirmed).all()
    return [row.id for row in rows if is_unconfirmed(row.opened_us, row.attempt, now_us)]


_unconfirmed = select(_j.id, _j.opened_us, _j.attempt).where(
    _j.worker_id.is_not(None), _j.offset == 0, _j.closed_us.is_(None), _j.leased.is_(False)
)


def take_back(connection: Connection, journal: str, now_us: int, *, new_id: Callable[[], str]) -> str | None:
    """Take an attempt back that its worker never confirmed; return the run, which is planned again.

    Nothing was started for it: a worker starts what it has confirmed, and this attempt cannot be confirmed any more.
    """
    mine = (_j.id == journal, _j.offset == 0, _j.closed_us.is_(None), _j.leased.is_(False))
    if not locks.hold(connection, journals, *mine):
        return None
    connection.execute(update(journals).where(_j.id == journal).values(closed_us=now_us))
    where = (_r.journal_id == journal, _r.state_type == "PENDING")
    row = connection.execute(locks.held(flow_runs, select(flow_runs).where(*where))).mappings().first()
    if row is None:
        return None  # it was cancelled meanwhile
    run = history.run_of(row, is_flow=True)
    details = {"flow_run_id": run.id, **_scheduled_time(run)}
    message = (
        "The worker that was given it did not answer, so nothing was started; it is given to another one."
    )
    enter(run, "SCHEDULED", "Scheduled", now_us, run.strength.attempt + 1, new_id(), message, details)
    runs.save_states(connection, [runs.Known(run, journal)], now_us)
    return run.id


def _scheduled_time(run: Run) -> dict[str, Any]:
    when = (run.state.details or {}).get("scheduled_time") if run.state is not None else None
    return {"scheduled_time": when} if when else {}


def pool_of(connection: Connection, name: str) -> str | None:
    """Return a pool's id, or ``None``."""
    return connection.execute(select(work_pools.c.id).where(work_pools.c.name == name)).scalar()


class Offer(NamedTuple):
    """What a client of the contract is offered."""

    places: list[str]
    """Ids of the queues, or of the deployments, that it asked for."""
    runs: list[str]
    """Ids of runs in the order of serving."""


def offer(connection: Connection, asker: Asker, window: Window, now_us: int) -> Offer:
    """Return the runs that a client of the contract may begin; nothing is written, and nothing is promised.

    Those that would wait for a limit are left out. Those that a limit cancels (``CANCEL_NEW``) are offered once
    they are due: they are cancelled when somebody asks to begin them.
    """
    scope = serving.scope(connection, asker, lock=False)
    places = [id for group in scope.groups for id in group]
    found = serving.allocate(connection, asker, scope, window, most=asker.limit, lock=False)
    return Offer(places, [*found.taken, *_of_time(connection, found.cancelled, now_us)])


def _of_time(connection: Connection, ids: list[str], now_us: int) -> list[str]:
    if not ids:
        return []
    statement = select(_r.id).where(_r.id.in_(ids), _r.next_scheduled_us <= now_us)
    return list(connection.execute(statement.order_by(_r.next_scheduled_us, _r.id)).scalars())


def _lock_runs(connection: Connection, ids: Sequence[str]) -> dict[str, Row]:
    """Take the runs that nobody else takes at this moment and that are still to be taken."""
    if not ids:
        return {}
    rows = connection.execute(_free, {"ids": ids}).mappings()
    return {row["id"]: cast("Row", row) for row in rows}


_free = locks.held(
    flow_runs,
    select(flow_runs)
    .where(
        _r.id.in_(bindparam("ids", expanding=True)), _r.state_type == "SCHEDULED", _r.holds_slot.is_(False)
    )
    .order_by(_r.id),
    skip_locked=True,
)


def _begin(row: Row, asker: Asker, now_us: int, new_id: Callable[[], str]) -> runs.Known:
    """Let a run enter its attempt: Pending, with a journal that its worker's supervisor is to write."""
    run, journal = history.run_of(row, is_flow=True), new_id()
    details = {"flow_run_id": run.id, **_scheduled_time(run)}
    attempt, message = max(1, run.strength.attempt), f"Taken by worker {asker.worker_name}."
    enter(run, "PENDING", "Pending", now_us, attempt, new_id(), message, details)
    return runs.Known(run, journal)


def _journal(known: runs.Known, asker: Asker, now_us: int) -> dict[str, Any]:
    return {
        "id": known.journal,
        "offset": 0,
        "opened_us": now_us,
        "last_seen_us": now_us,
        "leased": False,  # its lease begins when the worker confirms that it has the claim
        "attempt": max(1, known.run.strength.attempt),
        "worker_id": asker.worker_id,
        "worker_name": asker.worker_name,
    }


def _cancel(row: Row, now_us: int, new_id: Callable[[], str]) -> runs.Known:
    run = history.run_of(row, is_flow=True)
    message = "Its deployment already has as many runs as its concurrency limit lets live (CANCEL_NEW)."
    enter(run, "CANCELLED", "Cancelled", now_us, max(1, run.strength.attempt), new_id(), message, {})
    return runs.Known(run, row["journal_id"])


def enter(
    run: Run, type: str, name: str, now_us: int, attempt: int, id: str, message: str, details: dict[str, Any]
) -> None:
    """Let a run enter a state that the server decides on, at no time before the state that it follows."""
    when = max(now_us, run.state.t + 1) if run.state is not None else now_us
    row = StateRow(id, type, name, when, Rank.PROPOSAL, attempt, 0, message, details or None)
    report(run, row)


def _claims(connection: Connection, given: Sequence[tuple[Row, str]]) -> list[orders.Claim]:
    names = flows.names(connection, {row["flow_id"] for row, _ in given})
    codes = _codes(connection, {row["deployment_id"] for row, _ in given if row["deployment_id"]})
    return [
        orders.Claim(
            journal,
            max(1, row["attempt"]),
            _planned(connection, row, names.get(row["flow_id"], "")),
            codes.get(row["deployment_id"]),
            row["work_queue_name"],
        )
        for row, journal in given
    ]


def _planned(connection: Connection, row: Row, flow_name: str) -> orders.PlannedRun:
    states = history.history_of(row)
    return orders.PlannedRun(
        id=row["id"],
        name=row["name"],
        flow_name=flow_name,
        parameters=row["parameters"] or {},
        tags=row["tags"] or [],
        job_variables=row["job_variables"] or {},
        parent_flow_run_id=row["parent_flow_run_id"],
        parent_task_run_id=row["parent_task_run_id"],
        expected_start_time=iso(row["expected_start_us"]) if row["expected_start_us"] is not None else None,
        begun=row["run_count"],
        tries_used=tries_used(states),
        answered=answered.pauses(connection, row),
    )


def _codes(connection: Connection, ids: Collection[str]) -> dict[str, orders.DeploymentCode]:
    if not ids:
        return {}
    rows = connection.execute(_code, {"ids": list(ids)}).mappings()
    return {
        row["id"]: orders.DeploymentCode(
            **{**row, "job_variables": row["job_variables"] or {}, "parameters": row["parameters"] or {}}
        )
        for row in rows
    }


_code = select(*(_d[name] for name in orders.DeploymentCode.__struct_fields__)).where(
    _d.id.in_(bindparam("ids", expanding=True))
)
