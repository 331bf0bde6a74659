"""Is it there, can it work, what does it speak: the questions that come first."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from headrace.wire import versions
from headrace.wire.shapes.admin import ServerDefaultResultStorage, ServerDefaultResultStorageUpdate

from .answers import Json, no_content, not_found
from .body import StrictRoute
from .context import context

router = APIRouter(route_class=StrictRoute, tags=["Server"])


@router.get("/health", response_model=bool)
async def health_check() -> Response:
    """Answer ``true`` as long as the process lives."""
    return Json(True)


@router.get("/ready")
def perform_readiness_check(request: Request) -> Response:
    """Answer when the database can be read; 503 when it cannot."""
    if not context(request).database.is_current():
        return Json({"message": "The database is not there or has another shape than this server."}, 503)
    return Json({"message": "OK"})


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
