"""Claims over HTTP: a long poll that gives due runs to a worker. Ours, beside the contract."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import msgspec
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from headrace.model import orders
from headrace.server.store import claims
from headrace.wire.shapes.claims import (
    ClaimConfirmation,
    ClaimsResponse,
    ConfirmedClaims,
    DeploymentClaim,
    PoolClaim,
)

from .answers import Json
from .body import StrictRoute
from .context import Context, context
from .work_pools import no_pool

router = APIRouter(tags=["Claims"], route_class=StrictRoute)

LONGEST_WAIT_S = 25.0
"""Under the idle limits of the usual proxies."""

LOOK_S = 2.0
"""How often a waiting poll looks by itself: for runs that another server took in."""


_newest: dict[str, object] = {}
"""The last question of each worker that waits; only touched on the event loop."""


class _Poll(NamedTuple):
    """One worker's question."""

    asker: claims.Asker
    have: tuple[str, ...]
    wait: float
    pool: str | None
    """The pool's name; ``None`` for deployments that serve themselves."""


@router.post("/work_pools/{name}/claim", response_model=ClaimsResponse)
async def claim_of_pool(request: Request, name: str, body: PoolClaim) -> Response:
    """Give due runs of a pool's queues to a worker, waiting up to ``wait`` seconds for one."""
    at = context(request)
    pool = await run_in_threadpool(_pool, at, name)
    if pool is None:
        raise no_pool(name)
    queues = None if body.work_queue_names is None else tuple(body.work_queue_names)
    asker = claims.Asker(str(body.worker_id), body.worker_name, pool["id"], queues, (), body.limit)
    return await _answer(request, at, _Poll(asker, tuple(map(str, body.have)), body.wait, name))


@router.post("/deployments/claim", response_model=ClaimsResponse)
async def claim_of_deployments(request: Request, body: DeploymentClaim) -> Response:
    """Give due runs of deployments to the process that serves them, waiting up to ``wait`` seconds for one."""
    served = tuple(map(str, body.deployment_ids))
    asker = claims.Asker(str(body.worker_id), body.worker_name, None, None, served, body.limit)
    return await _answer(request, context(request), _Poll(asker, tuple(map(str, body.have)), body.wait, None))


@router.post("/claims/confirm", response_model=ConfirmedClaims)
def confirm_claims(request: Request, body: ClaimConfirmation) -> Response:
    """Take a worker's word that it begins attempts; what it does not confirm within some seconds is given to another."""
    at, wanted = context(request), [str(id) for id in body.journals]
    kept = at.database.write(
        lambda connection: claims.confirm(connection, str(body.worker_id), wanted, at.now_us())
    )
    return Json({"journals": kept})


def _pool(at: Context, name: str) -> dict[str, Any] | None:
    with at.database.read() as connection:
        row = claims.pool_of(connection, name)
        return None if row is None else dict(row)


async def _answer(request: Request, at: Context, poll: _Poll) -> Response:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(poll.wait, LONGEST_WAIT_S)
    given = await run_in_threadpool(_again, at, poll)
    look = await run_in_threadpool(_look, at, poll)
    worker = poll.asker.worker_id
    at.openings.ring_here(worker)  # it asks anew: an older question of its own is answered, with nothing
    mine = _newest[worker] = object()
    places = look.places if poll.asker.limit > 0 else []  # who takes nothing must not be the one who is woken
    with at.openings.waiting(worker, *places) as bell:
        while True:
            bell.clear()
            if _newest.get(worker) is not mine or await request.is_disconnected():
                at.openings.ring_here(*places)
                return await _claims(at, poll, given)  # nobody would start what is taken from now on
            if not given:
                look, given = await run_in_threadpool(_try, at, poll)
                if given and at.meter is not None:
                    at.meter.gave(len(given))
            left = deadline - loop.time()
            if given or left <= 0 or at.openings.closed:
                _newest.pop(worker, None)
                if given or bell.is_set():  # the next one may find more, or what this one was woken for
                    at.openings.ring_here(*places)
                return await _claims(at, poll, given)
            pauses = [left, LOOK_S]
            if look.next_us is not None:
                pauses.append(max(0.0, (look.next_us - at.now_us()) / 1e6))
            await _rung(bell, min(pauses))


async def _rung(bell: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(bell.wait(), seconds)
    except asyncio.TimeoutError:
        return


async def _claims(at: Context, poll: _Poll, given: list[orders.Claim]) -> Response:
    # Read now: a pool may be changed while a poll waits, and these runs are begun after that.
    pool = (await run_in_threadpool(_pool, at, poll.pool) if poll.pool is not None else None) or {}
    template, paused = pool.get("base_job_template") or {}, bool(pool.get("is_paused"))
    return Json(msgspec.to_builtins(orders.Claims(given, template, paused)))


def _again(at: Context, poll: _Poll) -> list[orders.Claim]:
    """Return what got lost on its way; what the worker is about to start is alive by its word."""
    with at.database.read() as connection:
        found = claims.unbegun(connection, poll.asker.worker_id, frozenset(poll.have))
    for journal in found.starting:
        at.saw(journal, at.now_us())
    return found.lost


def _look(at: Context, poll: _Poll) -> claims.Look:
    with at.database.read() as connection:
        look = claims.look(connection, poll.asker, at.now_us())
    if at.roll_call.note(poll.asker.pool_id, poll.asker.worker_name, look.places, at.now_us()):
        at.roll_call.tick()
    return look


def _try(at: Context, poll: _Poll) -> tuple[claims.Look, list[orders.Claim]]:
    """Look, and take what there is: only then is anything written."""
    look = _look(at, poll)
    if not look.ready:
        return look, []
    given, _cancelled = at.database.write(
        lambda connection: claims.claim(connection, poll.asker, at.now_us(), new_id=at.new_id)
    )
    return look, given
