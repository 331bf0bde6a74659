"""Is it there, can it work, what does it speak: the questions that come first."""

from __future__ import annotations

import logging

from anyio import CapacityLimiter, fail_after, to_thread
from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.responses import Response

from headrace.errors import ServerUnavailable
from headrace.server.store.database import Database
from headrace.server.store.standing import Standing
from headrace.wire import versions
from headrace.wire.shapes.admin import ServerDefaultResultStorage, ServerDefaultResultStorageUpdate

from .answers import Json, no_content, not_found
from .body import StrictRoute
from .context import context

_log = logging.getLogger("headrace.server")

router = APIRouter(route_class=StrictRoute, tags=["Server"])


@router.get("/health", response_model=bool)
async def health_check() -> Response:
    """Answer ``true`` as long as the process lives."""
    return Json(True)


ANSWER_S = 4.0
"""How long the database may take to show that it is there; load balancers ask every few seconds."""

_OLDER = "The database is not there, or older than this server: `headrace server database upgrade` brings it up to date."
_UNFIT = {
    Standing.ABSENT: _OLDER,
    Standing.OLDER: _OLDER,
    Standing.OUTGROWN: "A newer Headrace has changed the database, and this server cannot work on it any more: upgrade it.",
    Standing.COPYING: "A copy into the database is not finished: `headrace server database copy` goes on with it.",
}
"""What to say of a database on which this code cannot work."""

_lookers = CapacityLimiter(
    2
)  # not the threads that requests wait in: when those are all taken, it must be told


@router.get("/ready")
async def perform_readiness_check(request: Request) -> Response:
    """Answer when requests can be served: this server can work on the database, it takes writes, the server stays."""
    why = await _why_not(request)
    return Json({"message": "OK"}) if why is None else Json({"message": why}, 503, {"Retry-After": "1"})


async def _why_not(request: Request) -> str | None:
    at = context(request)
    if getattr(request.app.state, "ends", False) or at.bells.closed:
        return "This server ends. Send nobody here any more."
    try:
        with fail_after(ANSWER_S):
            return await to_thread.run_sync(_why_unfit, at.database, abandon_on_cancel=True, limiter=_lookers)
    except TimeoutError:
        return f"The database did not answer within {ANSWER_S:g} s."
    except (DBAPIError, ServerUnavailable, PoolTimeout) as error:
        # To the log alone: anybody may ask, and it may name hosts and users.
        _log.warning("Not ready: %s", " ".join(str(getattr(error, "orig", None) or error).split()))
        return "The database cannot be read; the server's log says why."


def _why_unfit(database: Database) -> str | None:
    return _UNFIT.get(database.standing()) or database.why_unwritable()


@router.get("/hello", response_model=str)
async def hello() -> Response:
    """Say hello."""
    return Json("\N{WAVING HAND SIGN}")


@router.get("/version", response_model=str)
async def server_version() -> Response:
    """Return the version of the API."""
    return Json(versions.API_VERSION)


@router.get("/admin/version", response_model=str)
async def read_version() -> Response:
    """Return the release whose contract is spoken; clients compare its major number with theirs."""
    return Json(versions.CONTRACT_RELEASE)


@router.get("/csrf-token")
async def create_csrf_token(client: str) -> Response:  # noqa: ARG001  # clients send it, and it is in the contract
    """Say that no token is needed; clients match this text."""
    raise HTTPException(422, "CSRF protection is disabled.")


@router.get("/admin/storage", response_model=ServerDefaultResultStorage)
async def read_server_default_result_storage() -> Response:
    """Return where results go by default: this server keeps no storage blocks yet, so nowhere."""
    return Json({"default_result_storage_block_id": None})


@router.put("/admin/storage", response_model=ServerDefaultResultStorage)
async def update_server_default_result_storage(body: ServerDefaultResultStorageUpdate) -> Response:  # noqa: ARG001
    """Refuse: there is no block that could be named."""
    raise not_found("Block document")


@router.delete("/admin/storage", status_code=204)
async def clear_server_default_result_storage() -> Response:
    """Forget the default storage; there is none."""
    return no_content()
