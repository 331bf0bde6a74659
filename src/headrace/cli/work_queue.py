"""``headrace work-queue``: make, view, limit, pause and delete work queues."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import click

from headrace.client import calls
from headrace.client.calls import Json
from headrace.errors import ObjectAlreadyExists

from . import named, places
from .exits import Refusal
from .explain import facts
from .filters import limit_option
from .output import heading, id_cell, local_time, output_option, printable, styled, write_json, write_table
from .session import current

_NAME = click.argument("name", metavar="QUEUE")

_LIMIT = click.IntRange(0, 2**31 - 1)


def _pool_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``-p/--pool``, which it can do without where only one pool has a queue of the name."""
    return click.option("-p", "--pool", metavar="POOL", help="The work pool that the queue belongs to.")(
        command
    )


@click.group(name="work-queue")
def group() -> None:
    """Make, view, limit, pause and delete work queues.

    A work queue says which runs of its work pool go first, and how many at once. QUEUE is its name or id; where
    several pools have a queue of that name, -p says which.
    """


@group.command(epilog="Example: headrace work-queue create downloads -p laptops --limit 4")
@click.argument("name", metavar="QUEUE", callback=places.new_name)
@click.option("-p", "--pool", metavar="POOL", required=True, help="The work pool that it belongs to.")
@click.option(
    "-l", "--limit", type=_LIMIT, metavar="N", help="The most runs of it at once, over all workers."
)
@click.option(
    "-q",
    "--priority",
    type=click.IntRange(1, 10**9),
    metavar="N",
    help="1 goes first; the queue that had it moves back. Without it the new queue is the last.",
)
@click.option("--description", default="", help="What it is for.")
@output_option
def create(
    name: str, pool: str, limit: int | None, priority: int | None, description: str, output: str
) -> None:
    """Make a work queue of a work pool."""
    connection = current().connection
    named.work_pool(connection, pool)
    body = {"name": name, "concurrency_limit": limit, "priority": priority, "description": description}
    try:
        queue = calls.create_work_queue(connection, pool, body)
    except ObjectAlreadyExists as error:
        raise Refusal(
            f"Work pool {pool!r} has a work queue {name!r} already. `headrace work-queue set-concurrency-limit` "
            "changes its limit."
        ) from error
    if output == "json":
        write_json(queue)
        return
    at_once = "" if limit is None else f", at most {limit} at once"
    click.echo(
        f"Made work queue {printable(name)} of work pool {printable(pool)}: priority {queue['priority']}{at_once}."
    )


@group.command(epilog="Example: headrace work-queue ls -p laptops")
@click.option(
    "-p", "--pool", metavar="POOL", help="Only queues of this work pool, the first to be served first."
)
@click.option("-m", "--match", metavar="TEXT", help="Only queues whose name begins so.")
@limit_option(200)
@output_option
def ls(pool: str | None, match: str | None, limit: int, output: str) -> None:
    """List work queues: of one pool in the order in which they are served, otherwise of all pools by name."""
    connection = current().connection
    if pool is not None:
        named.work_pool(connection, pool)
    filters = {"name": {"startswith_": [match]}} if match else None
    queues = calls.work_queues(connection, filters, pool=pool, limit=limit)
    if output == "json":
        write_json(queues)
        return
    write_table(
        ("POOL", "NAME", "PRIORITY", "STATUS", "SLOTS", "ID"),
        [
            (
                queue.get("work_pool_name") or "",
                queue["name"],
                str(queue["priority"]),
                places.status_cell(queue),
                places.slots(queue),
                id_cell(queue["id"]),
            )
            for queue in queues
        ],
        empty="No work queues. `headrace work-queue create NAME -p POOL` makes one.",
    )


@group.command(epilog="Example: headrace work-queue inspect downloads -p laptops")
@_NAME
@_pool_option
@output_option
def inspect(name: str, pool: str | None, output: str) -> None:
    """Show a work queue: its place, its status, its limit."""
    queue = named.work_queue(current().connection, name, pool)
    if output == "json":
        write_json(queue)
        return
    status = places.status_cell(queue)
    click.echo(
        f"Work queue {printable(queue['name'])} of work pool {printable(queue.get('work_pool_name') or '?')}"
    )
    facts(
        [
            ("id", queue["id"]),
            ("status", f"{styled(status)} ({places.MEANINGS.get(status.text, '')})"),
            ("priority", str(queue["priority"])),
            ("slots", places.slots(queue)),
            ("last polled", local_time(queue.get("last_polled")) or "never"),
            ("description", printable(queue.get("description") or "")),
            ("created", local_time(queue.get("created"))),
        ]
    )


@group.command(epilog="Example: headrace work-queue pause downloads -p laptops")
@_NAME
@_pool_option
def pause(name: str, pool: str | None) -> None:
    """Let the runs of a work queue wait; those that run go on."""
    _change(name, pool, {"is_paused": True})
    click.echo(f"Paused work queue {printable(name)}: no more of its runs are begun. Those that run go on.")


@group.command(epilog="Example: headrace work-queue resume downloads -p laptops")
@_NAME
@_pool_option
def resume(name: str, pool: str | None) -> None:
    """Let the runs of a paused work queue begin again."""
    _change(name, pool, {"is_paused": False})
    click.echo(f"Resumed work queue {printable(name)}.")


@group.command(epilog="Example: headrace work-queue set-concurrency-limit downloads 4 -p laptops")
@_NAME
@click.argument("limit", metavar="N", type=_LIMIT)
@_pool_option
def set_concurrency_limit(name: str, limit: int, pool: str | None) -> None:
    """Let at most N runs of a work queue run at once, over all workers."""
    _change(name, pool, {"concurrency_limit": limit})
    click.echo(f"At most {limit} runs of work queue {printable(name)} run at once now.")


@group.command(epilog="Example: headrace work-queue clear-concurrency-limit downloads -p laptops")
@_NAME
@_pool_option
def clear_concurrency_limit(name: str, pool: str | None) -> None:
    """Let any number of runs of a work queue run at once."""
    _change(name, pool, {"concurrency_limit": None})
    click.echo(f"Work queue {printable(name)} has no limit now; its pool keeps its own.")


def _change(name: str, pool: str | None, changes: Json) -> None:
    connection = current().connection
    calls.change_work_queue(connection, named.work_queue(connection, name, pool)["id"], changes)


@group.command(epilog="Example: headrace work-queue delete downloads -p laptops --yes")
@_NAME
@_pool_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete(name: str, pool: str | None, yes: bool) -> None:
    """Delete a work queue; its deployments stay, without a queue."""
    connection = current().connection
    queue = named.work_queue(connection, name, pool)
    told = f"{printable(queue['name'])} of work pool {printable(queue.get('work_pool_name') or '?')}"
    if not yes:
        heading("To be deleted; its deployments stay, without a queue:")
        click.echo(f"  {told}")
        click.confirm("Delete?", abort=True)
    try:
        calls.delete_work_queue(connection, queue["id"])
    except ObjectAlreadyExists as error:  # 409: the contract's word for what cannot be as things are
        raise Refusal(str((error.body or {}).get("detail") or error)) from error
    click.echo(f"Deleted work queue {told}.")


@group.command(epilog="Example: headrace work-queue preview downloads -p laptops --hours 24")
@_NAME
@_pool_option
@click.option(
    "--hours", type=click.FloatRange(min=0), default=1.0, show_default=True, help="How far to look ahead."
)
@limit_option(50)
@output_option
def preview(name: str, pool: str | None, hours: float, limit: int, output: str) -> None:
    """List the runs that are due in a work queue within some hours."""
    before = datetime.now(timezone.utc) + timedelta(hours=min(hours, 24 * 36_500))
    _write_runs(
        name, pool, before, limit, output, f"No runs of work queue {name} are due within {hours:g} h."
    )


@group.command(epilog="Example: headrace work-queue read-runs downloads -p laptops")
@_NAME
@_pool_option
@limit_option(50)
@output_option
def read_runs(name: str, pool: str | None, limit: int, output: str) -> None:
    """List the runs that wait in a work queue, the first due first; looking takes none of them."""
    _write_runs(name, pool, None, limit, output, f"No runs wait in work queue {name}.")


def _write_runs(
    name: str, pool: str | None, before: datetime | None, limit: int, output: str, empty: str
) -> None:
    connection = current().connection
    place = {"work_pool_queues": {"id": {"any_": [named.work_queue(connection, name, pool)["id"]]}}}
    runs = places.waiting(connection, place, before=before, limit=limit)
    if output == "json":
        write_json(runs)
    else:
        places.write_waiting(runs, empty=empty)


@group.command(epilog="Example: headrace work-queue slots downloads -p laptops")
@_NAME
@_pool_option
@output_option
def slots(name: str, pool: str | None, output: str) -> None:
    """Show how many slots of a work queue are held, and by which runs."""
    connection = current().connection
    queue = named.work_queue(connection, name, pool)
    found = calls.work_queue_slots(connection, queue["id"])
    if output == "json":
        write_json(found)
        return
    click.echo(f"Work queue {printable(queue['name'])}: {places.slots(found)} slots are held.")
    places.write_holders([(queue["name"], run) for run in found["flow_runs"]])
