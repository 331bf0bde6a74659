"""Find the run that a person means: by id, by an end of its id, or by name."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import click

from headrace.client import calls
from headrace.client.calls import Json
from headrace.client.connection import Connection
from headrace.errors import ObjectNotFound

from .exits import Refusal
from .output import local_time

SCANNED = 2000
"""How many of the latest runs a shortened id is looked for in; the contract has no filter for part of an id."""

_SHORTEST = 4
"""Characters of a shortened id; fewer fit too many runs."""


def flow_run(connection: Connection, text: str) -> Json:
    """Return the flow run that ``text`` names.

    Raises:
        Refusal: it names none, or several; the message lists them.
    """
    id = full_id(text)
    if id is not None:
        try:
            return calls.flow_run(connection, id)
        except ObjectNotFound as error:
            raise Refusal(f"There is no flow run {id}. `headrace flow-run ls` lists them.") from error
    found = _by_name(connection, "flow_runs", text) + _by_part(connection, "flow_runs", text)
    run = _only(calls.with_flow_names(connection, found), text, "flow run")
    return calls.flow_run(connection, run["id"])


def task_run(connection: Connection, text: str, *, flow_run: str | None = None) -> Json:
    """Return the task run that ``text`` names, within one flow run if its id is given.

    Raises:
        Refusal: it names none, or several; the message lists them.
    """
    id = full_id(text)
    if id is not None:
        try:
            return calls.task_run(connection, id)
        except ObjectNotFound as error:
            raise Refusal(f"There is no task run {id}. `headrace task-run ls` lists them.") from error
    within = {"flow_runs": {"id": {"any_": [flow_run]}}} if flow_run else {}
    found = _by_name(connection, "task_runs", text, within) + _by_part(connection, "task_runs", text, within)
    return calls.task_run(connection, _only(found, text, "task run")["id"])


def full_id(text: str) -> str | None:
    """Return a whole id in its canonical form, or ``None`` when the text is not one."""
    if len(text) not in (32, 36):
        return None
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _by_name(connection: Connection, kind: str, name: str, within: Json | None = None) -> list[Json]:
    body = {**(within or {}), kind: {"name": {"any_": [name]}}, "sort": "ID_DESC"}
    return list(calls.pages(connection, f"/{kind}/filter", body, limit=10))


def _by_part(connection: Connection, kind: str, text: str, within: Json | None = None) -> list[Json]:
    """Return the latest runs whose id begins or ends with the text; ``…`` before or after it is passed over."""
    part = text.strip("….").lower()
    if len(part) < _SHORTEST or not re.fullmatch(r"[0-9a-f-]+", part):
        return []
    body = {**(within or {}), "sort": "ID_DESC"}
    latest = calls.pages(connection, f"/{kind}/filter", body, limit=SCANNED)
    return [run for run in latest if run["id"].startswith(part) or run["id"].endswith(part)]


def _only(found: list[Json], text: str, noun: str) -> Json:
    runs = list({run["id"]: run for run in found}.values())
    if len(runs) == 1:
        return runs[0]
    command = f"headrace {noun.replace(' ', '-')} ls"
    if not runs:
        raise Refusal(
            f"No {noun} is called {text!r}, and none of the latest {SCANNED:,} has an id that begins or ends so. "
            f"`{command}` lists them; older ones are found by their whole id."
        )
    listed = "\n".join(_candidates(runs[:10]))
    more = f"\n  ... and {len(runs) - 10} more" if len(runs) > 10 else ""
    raise Refusal(f"{text!r} may mean any of {len(runs)} {noun}s; say which by its id:\n{listed}{more}")


def _candidates(runs: list[Json]) -> Iterator[str]:
    for run in runs:
        flow = f" of flow {run['flow_name']}" if run.get("flow_name") else ""
        when = local_time(run.get("start_time") or run.get("created"))
        yield f"  {run['id']}  {run['name']}{flow}, {run.get('state_name') or 'no state'}, {when}"


RUN_ARGUMENT = click.argument("run", metavar="RUN")
"""A run by id, by the first or last characters of its id, or by name."""
