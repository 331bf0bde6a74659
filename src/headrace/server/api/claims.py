"""Claims over HTTP: a long poll that gives due runs to a worker. Ours, beside the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import msgspec
from fastapi import APIRouter, Request
from sqlalchemy.engine import Connection
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from headrace.model import orders
from headrace.server.store import claims, serving
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
from .looks import Seen
from .work_pools import no_pool

router = APIRouter(tags=["Claims"], route_class=StrictRoute)

LONGEST_WAIT_S = 25.0
"""Under the idle limits of the usual proxies."""

LOOK_S = 2.0
"""How often a waiting poll looks by itself: for runs that another server took in."""

_newest: dict[str, object] = {}
"""The last question of each worker that is being answered; only touched on the event loop."""


class _Poll(NamedTuple):
    """One worker's question."""

    asker: serving.Asker
    have: frozenset[str]
    wait: float
    pool: str | None
    """The pool's name; ``None`` for deployments that serve themselves."""


class _Found(NamedTuple):
    """What there is for a worker at one moment."""

    given: list[orders.Claim]
    asker: serving.Asker
    seen: Seen

    @property
    def look(self) -> claims.Look:
        """What there is to do, for the next one who waits if runs were given to this one."""
        return self.seen.look

    @property
    def places(self) -> list[str]:
        """What the worker waits for; none for who takes nothing, who must not be the one that is woken."""
        return self.look.places if self.asker.limit > 0 else []


@router.post("/work_pools/{name}/claim", response_model=ClaimsResponse)
async def claim_of_pool(request: Request, name: str, body: PoolClaim) -> Response:
    """Give due runs of a pool's queues to a worker, waiting up to ``wait`` seconds for one."""
    queues = None if body.work_queue_names is None else tuple(body.work_queue_names)
    asker = serving.Asker(str(body.worker_id), body.worker_name, None, queues, (), body.limit)
    return await _answer(request, _Poll(asker, frozenset(map(str, body.have)), body.wait, name))


@router.post("/deployments/claim", response_model=ClaimsResponse)
async def claim_of_deployments(request: Request, body: DeploymentClaim) -> Response:
    """Give due runs of deployments to the process that serves them, waiting up to ``wait`` seconds for one."""
    served = tuple(map(str, body.deployment_ids))
    asker = serving.Asker(str(body.worker_id), body.worker_name, None, None, served, body.limit)
    return await _answer(request, _Poll(asker, frozenset(map(str, body.have)), body.wait, None))


@router.post("/claims/confirm", response_model=ConfirmedClaims)
def confirm_claims(request: Request, body: ClaimConfirmation) -> Response:
    """Take a worker's word that it begins attempts; what it does not confirm within some seconds is given to another."""
    at = context(request)
    word = claims.Word(str(body.worker_id), tuple(map(str, body.journals)))

    def confirm(words: Sequence[claims.Word]) -> list[list[str]]:
        return at.database.write(lambda connection: claims.confirm(connection, words, at.now_us()))

    return Json({"journals": at.together.carry_out("confirm", word, confirm)})


async def _answer(request: Request, poll: _Poll) -> Response:
    at, worker = context(request), poll.asker.worker_id
    deadline = asyncio.get_running_loop().time() + min(poll.wait, LONGEST_WAIT_S)
    mine = _newest[worker] = object()
    at.openings.ring_here(worker)  # it asks anew: an older question of its own is answered, with nothing
    try:
        found = await run_in_threadpool(_first, at, poll)
        if not found.given and poll.wait > 0:
            found = await _wait(request, at, found, deadline, mine)
    finally:
        if _newest.get(worker) is mine:
            del _newest[worker]
    if found.given and found.look.ready:
        at.openings.ring_here(*found.places)
    pool = found.look.pool
    template, paused = pool.get("base_job_template") or {}, bool(pool.get("is_paused"))
    return Json(msgspec.to_builtins(orders.Claims(found.given, template, paused)))


async def _wait(request: Request, at: Context, found: _Found, deadline: float, mine: object) -> _Found:
    """Look again whenever there may be something new, until there is or time is over."""
    loop, worker, places = asyncio.get_running_loop(), found.asker.worker_id, found.places
    with at.openings.waiting(worker, *places) as bell:
        is_new, rung = True, False
        while True:
            bell.clear()
            if _newest.get(worker) is not mine or await request.is_disconnected():
                at.openings.ring_here(*places)
                return found  # nobody would start what is taken from now on
            if not is_new or found.look.ready or not found.seen.is_still_so(at.openings):
                found = await run_in_threadpool(_try, at, found.asker, rung)
            is_new = False
            left = deadline - loop.time()
            if found.given or left <= 0 or at.openings.closed:
                if bell.is_set():  # the next one may find what this one was woken for
                    at.openings.ring_here(*places)
                return found
            pauses = [left, LOOK_S]
            if found.look.next_us is not None:
                pauses.append(max(0.0, (found.look.next_us - at.now_us()) / 1e6))
            rung = await _rung(bell, min(pauses))


async def _rung(bell: asyncio.Event, seconds: float) -> bool:
    """Wait for a bell so long; return whether it rang."""
    try:
        return await asyncio.wait_for(bell.wait(), seconds)
    except asyncio.TimeoutError:
        return False


def _first(at: Context, poll: _Poll) -> _Found:
    """Return what got lost on its way, else what there is; what the worker is about to start is alive by its word."""
    mark = at.openings.mark()
    with at.database.read() as connection:
        asker = _asker(connection, poll)
        unbegun = claims.unbegun(connection, asker.worker_id, poll.have)
        # Who will not be here when it is looked again is told what there is now, whatever another saw.
        seen = _seen(at, connection, mark, asker, relies=poll.wait >= LOOK_S)
    for journal in unbegun.starting:
        at.saw(journal, at.now_us())
    return _taken(at, asker, seen, unbegun.lost)


def _try(at: Context, asker: serving.Asker, rung: bool) -> _Found:
    """Take what there is, for who waits: who was rung for asks for it at once, who was not looks first."""
    if rung and asker.limit > 0:
        return _claimed(at, asker)
    mark = at.openings.mark()
    with at.database.read() as connection:
        seen = _seen(at, connection, mark, asker, relies=True)
    return _taken(at, asker, seen, [])


def _seen(at: Context, connection: Connection, mark: int, asker: serving.Asker, *, relies: bool) -> Seen:
    """Return what another who asks for the same saw a moment ago, or look. That it was nothing counts only for who ``relies`` on it."""
    recent = at.looks.get(_served(asker), at.now_us()) if asker.limit > 0 else None
    if recent is not None and (relies or recent.look.ready):
        return recent
    return at.looks.seen(claims.look(connection, asker, at.now_us()), mark)


def _asker(connection: Connection, poll: _Poll) -> serving.Asker:
    if poll.pool is None:
        return poll.asker
    pool_id = claims.pool_of(connection, poll.pool)
    if pool_id is None:
        raise no_pool(poll.pool)
    return poll.asker._replace(pool_id=pool_id)


def _served(asker: serving.Asker) -> Hashable:
    """Return what tells whether two askers want runs of the same places."""
    return asker.pool_id, asker.queues, asker.deployments


def _taken(at: Context, asker: serving.Asker, seen: Seen, lost: list[orders.Claim]) -> _Found:
    """Take what was seen: only then is anything written. ``lost`` is the worker's already."""
    if not lost and seen.look.ready and asker.limit > 0:
        return _claimed(at, asker)
    _note(at, asker, seen)
    if asker.limit > 0 and not seen.look.ready:
        at.looks.put(_served(asker), seen)
    return _Found(lost, asker, seen)


def _claimed(at: Context, asker: serving.Asker) -> _Found:
    """Take what there is, with all who ask for the same at this moment."""

    def claim(askers: Sequence[serving.Asker]) -> list[tuple[list[orders.Claim], Seen]]:
        mark = at.openings.mark()
        given = at.database.write(
            lambda connection: claims.claim(connection, askers, at.now_us(), new_id=at.new_id)
        )
        seen = at.looks.seen(given.left, mark)
        return [(to, seen) for to in given.to]

    given, seen = at.together.carry_out(_served(asker), asker, claim)
    _note(at, asker, seen)
    at.looks.put(_served(asker), seen)
    if given and at.meter is not None:
        at.meter.gave(len(given))
    return _Found(given, asker, seen)


def _note(at: Context, asker: serving.Asker, seen: Seen) -> None:
    """Note a worker's sign of life, for its pool and for what it asks for."""
    if at.roll_call.note(asker.pool_id, asker.worker_name, seen.look.places, at.now_us()):
        at.roll_call.tick()
