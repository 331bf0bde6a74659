"""Journals on the wire: ours, beside the contract."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class JournalOffset(BaseModel):
    """How much of a journal the server holds."""

    offset: int
    """Bytes."""


class JournalState(JournalOffset):
    """A journal as the server knows it."""

    id: str
    host: str | None = None
    attempt: int | None = None
    opened: str | None = None
    last_seen: str | None = None
    closed: str | None = None


class Command(BaseModel):
    """Something the server asks of the process behind a journal."""

    id: int
    action: str
    flow_run_id: str
    who: str | None = None
    asked_us: int | None = None
    """Microseconds since 1970, UTC."""
    payload: Any = None
    """What goes with it: for ``resume`` the input that was given."""
