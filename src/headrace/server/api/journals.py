"""Journals over HTTP: bytes in, commands out. Ours, beside the contract."""

from __future__ import annotations

import asyncio
import zlib
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, HTTPException, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from headrace.client.port import Command
from headrace.errors import JournalError, OffsetMismatch
from headrace.server.store import journals, run_json
from headrace.wire.shapes.journals import Command as CommandShape
from headrace.wire.shapes.journals import JournalOffset, JournalState

from .answers import Json, not_found
from .context import Context, context

router = APIRouter(prefix="/journals", tags=["Journals"])

LONGEST_WAIT_S = 60.0
"""How long a poll may wait; supervisors ask for 25 s, which is under every proxy's limit."""

POLLS_A_LEASE = 2
"""Each answer asks for the next poll, and only that shows life: an open connection may lead nowhere."""

_UNPACK = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS, "x-gzip": zlib.MAX_WBITS | 16}


@router.put("/{id:uuid}", response_model=JournalOffset, responses={409: {"model": JournalOffset}})
async def append_to_journal(
    request: Request, id: UUID, offset: Annotated[int, Query(ge=0, le=2**63 - 1)]
) -> Response:
    """Take in whole lines of a journal that begin at byte ``offset``; answer how many bytes are held now."""
    at = context(request)
    data = await _unpacked(request, at.settings.server_body_limit)
    try:
        # Only a poll for commands opens a lease: who merely hands bytes over may never come again.
        taken = await run_in_threadpool(
            at.deliveries.append, str(id), offset, data, now_us=at.now_us(), leased=False
        )
    except OffsetMismatch as error:
        return Json({"detail": str(error), "offset": error.expected}, 409)
    except JournalError as error:
        raise HTTPException(422, str(error)) from error
    at.openings.ring(*taken.openings)
    if at.meter is not None and taken.records:
        at.meter.took_in(taken.records, taken.size, taken.newest_us)
    return Json({"offset": taken.held})


async def _unpacked(request: Request, limit: int) -> bytes:
    """Return the body, unpacked; 413 when it is larger than ``limit`` unpacked, 415 and 422 when it cannot be."""
    body = await request.body()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return body
    if encoding not in _UNPACK:
        raise HTTPException(
            415, f"Content-Encoding {encoding!r} is not known. Send gzip, deflate or identity."
        )
    unpacker = zlib.decompressobj(_UNPACK[encoding])
    try:
        data = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise HTTPException(
            422, f"The body is not what its Content-Encoding says ({encoding}): {error}."
        ) from error
    if len(data) > limit:
        raise HTTPException(
            413,
            f"Unpacked, the body is larger than {limit} bytes. Send less at once, or raise "
            "HEADRACE_SERVER_BODY_LIMIT on the server.",
        )
    if not unpacker.eof:
        raise HTTPException(422, "The body ends in the middle of its compressed data. Send it again.")
    return data


@router.get("/{id:uuid}", response_model=JournalState)
def read_journal(request: Request, id: UUID) -> Response:
    """Return what the server holds of a journal."""
    with context(request).database.read() as connection:
        row = journals.get(connection, str(id))
    if row is None:
        raise not_found("Journal")
    answer: dict[str, Any] = {name: row[name] for name in ("id", "offset", "host", "pid", "attempt")}
    for name in ("opened", "last_seen", "closed"):
        answer[name] = run_json.moment(row[name + "_us"])
    return Json({**answer, "missing": row["missing"], "torn": row["torn"]})


@router.get("/{id:uuid}/commands", response_model=list[CommandShape])
async def read_commands(
    request: Request,
    id: UUID,
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    wait: Annotated[float, Query(ge=0)] = 0.0,
) -> Response:
    """Return commands newer than ``after``, waiting up to ``wait`` seconds for one; it is a sign of life.

    It waits for half a lease at most, so that a journal whose process lives is always heard of within one.
    """
    at, journal = context(request), str(id)
    at.saw(journal, at.now_us())
    longest = min(LONGEST_WAIT_S, at.settings.server_lease_seconds / POLLS_A_LEASE)
    deadline = asyncio.get_running_loop().time() + min(wait, longest)
    with at.bells.waiting(journal) as bell:
        while True:
            bell.clear()
            found = await run_in_threadpool(_commands, at, journal, after)
            left = deadline - asyncio.get_running_loop().time()
            if found or left <= 0 or at.bells.closed:
                at.saw(journal, at.now_us())
                return Json(msgspec.to_builtins(found))
            await _rung(bell, left)


async def _rung(bell: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(bell.wait(), seconds)
    except asyncio.TimeoutError:
        return


def _commands(at: Context, journal: str, after: int) -> list[Command]:
    with at.database.read() as connection:
        return journals.commands(connection, journal, after)
