"""Runs of deployments: what a deployment says, under what is said for the run; the same whoever makes one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from headrace.model.clock import from_datetime, iso
from headrace.model.ids import IdFactory
from headrace.model.names import run_name
from headrace.server.store.places import NOWHERE, Place

from .proposals import first_state
from .rules import Proposal

Json = dict[str, Any]
Row = Mapping[str, Any]

AUTO = "auto-scheduled"
"""The tag of runs that a schedule planned."""

_names = random.SystemRandom()


def new_name() -> str:
    """Return a name for a run that was given none."""
    return run_name(_names.getrandbits(32))


def of_deployment(
    deployment: Row,
    *,
    parameters: Mapping[str, Any],
    tags: Iterable[str] = (),
    labels: Mapping[str, Any] | None = None,
    place: Place | None = None,
) -> Json:
    """Return the columns of a run that follow from its ``deployment`` (a row, or the contract's object).

    ``parameters``, ``tags`` and ``labels`` are the run's own; ``place`` is where it is to be carried out.
    """
    own = {"prefect.flow.id": deployment["flow_id"], "prefect.deployment.id": deployment["id"]}
    return {
        "flow_id": deployment["flow_id"],
        "parameters": {**(deployment["parameters"] or {}), **parameters} or None,
        "tags": list(dict.fromkeys([*(deployment["tags"] or ()), *tags])) or None,
        "labels": {**(deployment["labels"] or {}), **(labels or {}), **own},
        "deployment_id": deployment["id"],
        "deployment_version": deployment["version"],
        **(place.columns() if place is not None else NOWHERE),
    }


def planned(schedule: Row, times: Iterable[datetime], now_us: int, ids: IdFactory) -> list[Json]:
    """Return the rows of the runs that a schedule plans; ``schedule`` is a row of ``store/planning.py``.

    A run's idempotency key tells its schedule and its time, so that no time is planned twice.
    """
    deployment = {**schedule, "id": schedule["deployment_id"]}
    place = None
    if schedule["work_queue_id"] is not None:
        place = Place(*(schedule[name] for name in Place._fields))
    shared = {
        **of_deployment(deployment, parameters=schedule["own_parameters"] or {}, tags=[AUTO], place=place),
        "created_us": now_us,
        "updated_us": now_us,
        "auto_scheduled": True,
        "schedule_id": schedule["id"],
        "created_by": {
            "id": schedule["deployment_id"],
            "type": "DEPLOYMENT",
            "display_value": schedule["deployment_name"],
        },
    }
    return [_planned_for(shared, at, now_us, ids) for at in times]


def _planned_for(shared: Json, at: datetime, now_us: int, ids: IdFactory) -> Json:
    when = iso(from_datetime(at))
    row = {
        **shared,
        "id": ids.new(now_us),
        "name": new_name(),
        "idempotency_key": f"scheduled {shared['schedule_id']} {when}",
    }
    due = Proposal("SCHEDULED", "Scheduled", details={"scheduled_time": when})
    return row | first_state(row, due, is_flow=True, now_us=now_us, id=ids.new(now_us))
