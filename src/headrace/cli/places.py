"""What pools and queues look like on a terminal: their status, their slots, and the runs that wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click

from headrace.client import calls
from headrace.client.calls import Json
from headrace.client.connection import Connection

from .output import Cell, heading, id_cell, local_time, state_cell, write_table

_COLOURS = {"READY": "green", "NOT_READY": "red", "PAUSED": "yellow"}

MEANINGS = {
    "READY": "somebody asks for its runs",
    "NOT_READY": "nobody asks for its runs",
    "PAUSED": "its runs wait",
}
"""What each status says, for views of one thing."""


_REFUSED = "/%&<>"
"""Characters that would break a URL; the contract has no such names."""


def new_name(_context: click.Context, _argument: click.Parameter, name: str) -> str:
    """Return the name of a pool or queue that is to be made, if it may be called so."""
    wrong = sorted(set(name) & set(_REFUSED))
    if wrong or not name.strip():
        why = f"may not hold {' '.join(wrong)}" if wrong else "cannot be empty"
        raise click.BadParameter(f"a name {why}.")
    return name


def name_of(thing: Json) -> str:
    """Return ``POOL/QUEUE``, or what there is of it, of a deployment or a run."""
    return "/".join(filter(None, (thing.get("work_pool_name"), thing.get("work_queue_name"))))


def status_cell(thing: Json) -> Cell:
    """Return the field of a pool's, queue's or deployment's status; a deployment that is paused says so."""
    status = "PAUSED" if thing.get("paused") else thing.get("status") or ""
    return Cell(status, _COLOURS.get(status, ""))


def slots(thing: Json) -> str:
    """Return how many slots are held, of how many: ``2 of 4``, or ``2`` where there is no limit."""
    held, limit = thing.get("active_slots"), thing.get("concurrency_limit")
    if limit is None:
        return "" if held is None else str(held)
    return f"{held or 0} of {limit}"


def waiting(
    connection: Connection, place: Json, *, before: datetime | None = None, limit: int | None
) -> list[Json]:
    """Return the runs that are planned for a place and not taken yet, the first due first.

    ``place`` is the contract's filter, ``{"work_pools": ...}`` or ``{"work_pool_queues": ...}``. Looking is not asking
    for runs: it makes nothing READY.
    """
    wanted: Json = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    if before is not None:
        wanted["next_scheduled_start_time"] = {"before_": before.isoformat()}
    filters = {**place, "flow_runs": wanted}
    return calls.flow_runs(connection, filters, limit=limit, sort="NEXT_SCHEDULED_START_TIME_ASC")


def write_waiting(runs: Sequence[Json], *, empty: str) -> None:
    """Write runs that wait, with their times."""
    write_table(
        ("DUE", "NAME", "FLOW", "QUEUE", "STATE", "ID"),
        [
            (
                local_time(run.get("next_scheduled_start_time")),
                run["name"],
                run.get("flow_name") or "",
                run.get("work_queue_name") or "",
                state_cell(run),
                id_cell(run["id"]),
            )
            for run in runs
        ],
        empty=empty,
    )


def write_holders(runs: Sequence[tuple[str, Json]]) -> None:
    """Write runs that hold slots, each with the name of its queue."""
    if not runs:
        click.echo("No run holds a slot.")
        return
    heading("Held by")
    write_table(
        ("NAME", "QUEUE", "STATE", "SINCE", "ID"),
        [
            (run["name"], queue, state_cell(run), local_time(run.get("state_timestamp")), id_cell(run["id"]))
            for queue, run in runs
        ],
        empty="",
    )
