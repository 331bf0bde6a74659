"""The brake of a deployment: how its runs crashed lately, and pausing it when that is too often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from . import locks
from .planning import drop_planned
from .tables import deployments

_c = deployments.c


def lock(connection: Connection, id: str) -> Mapping[str, Any] | None:
    """Return a deployment's brake and keep others from writing it; ``None`` when there is none, or another writes it."""
    columns = (_c.paused, _c.pause_reason, _c.crash_brake, _c.crashes_us)
    # Whoever may count crashes holds it already: it comes before runs. A straggler's crash is not worth waiting for.
    statement = locks.held(deployments, select(*columns).where(_c.id == id), skip_locked=True)
    return cast("Mapping[str, Any] | None", connection.execute(statement).mappings().first())


def count(connection: Connection, id: str, crashes_us: Sequence[int]) -> None:
    """Keep when its runs crashed lately."""
    connection.execute(update(deployments).where(_c.id == id).values(crashes_us=list(crashes_us)))


def pull(connection: Connection, id: str, why: str, now_us: int) -> None:
    """Pause a deployment, and say why; what its schedules planned goes, as when a person pauses it."""
    changes = {"paused": True, "pause_reason": why, "crashes_us": None, "updated_us": now_us}
    connection.execute(update(deployments).where(_c.id == id).values(**changes))
    drop_planned(connection, id, skip_locked=True)  # the crashed runs are held already
