"""What a server says of itself."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel


class ServerDefaultResultStorage(BaseModel):
    """Where results go when a flow does not say."""

    default_result_storage_block_id: UUID | None = None


class ServerDefaultResultStorageUpdate(BaseModel):
    """Where results are to go when a flow does not say."""

    default_result_storage_block_id: UUID


class CsrfToken(BaseModel):
    """A token that a browser's writes must carry."""

    id: UUID
    created: datetime | None
    updated: datetime | None
    token: str
    client: str
    expiration: datetime
