"""What the tests of the loops share: a clock turned by hand, and deployments with schedules."""

from __future__ import annotations

import itertools
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from headrace.model.clock import iso
from headrace.model.ids import IdFactory
from headrace.server.store import deployments, schedules
from headrace.server.store.database import Database
from headrace.server.store.tables import deployment_schedules, flow_runs, flows

NOON = 1_790_000_000_000_000 - 1_790_000_000_000_000 % 86_400_000_000 + 43_200_000_000
"""Noon (UTC) of a day, in microseconds since 1970."""

FLOW = "0197a000-000f-7000-8000-000000000001"
_ids = IdFactory()
_moments = itertools.count(NOON)


class Clock:
    """Tells the time it was set to."""

    def __init__(self, at: int = NOON) -> None:
        self.at = at

    def __call__(self) -> int:
        """Return the time."""
        return self.at

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.at += int(seconds * 1e6)


def every(seconds: float) -> dict[str, Any]:
    """Return a schedule as it is kept, with a time at noon."""
    return {"interval": float(seconds), "anchor_date": iso(NOON), "timezone": None}


def deployment(database: Database, *rules: dict[str, Any], name: str = "d", **columns: Any) -> str:
    """Make a deployment whose schedules are ``rules`` (or whole rows of schedules); return its id."""
    id = _ids.new(next(_moments))

    def its_flow(connection: Connection) -> None:
        if connection.execute(select(flows.c.id).where(flows.c.id == FLOW)).first() is None:
            made = {"name": "etl", "created_us": NOON, "updated_us": NOON}
            connection.execute(flows.insert().values(id=FLOW, **made))

    def work(connection: Connection) -> None:
        deployments.create(connection, {"flow_id": FLOW, "name": name, **columns}, id=id, now_us=NOON)
        for rule in rules:
            row = rule if "schedule" in rule else {"schedule": rule}
            schedules.create(
                connection, id, {"active": True, **row}, id=_ids.new(next(_moments)), now_us=NOON
            )

    database.write(its_flow)
    database.write(work)
    return id


def schedule_ids(database: Database, deployment_id: str) -> list[str]:
    """Return the ids of a deployment's schedules, in the order in which they were made."""
    c = deployment_schedules.c
    with database.read() as connection:
        return list(
            connection.execute(select(c.id).where(c.deployment_id == deployment_id).order_by(c.id)).scalars()
        )


def rows(database: Database) -> list[dict[str, Any]]:
    """Return the flow runs by the time for which they are planned."""
    c = flow_runs.c
    with database.read() as connection:
        found = connection.execute(select(flow_runs).order_by(c.expected_start_us, c.id)).mappings()
        return [dict(row) for row in found]


def seconds(database: Database) -> list[float]:
    """Return the times of the runs, in seconds after noon."""
    return [(row["expected_start_us"] - NOON) / 1e6 for row in rows(database)]
