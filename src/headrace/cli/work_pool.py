"""``headrace work-pool``: make, view, limit, pause and delete work pools."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click

from headrace.client import calls
from headrace.client.calls import Json
from headrace.client.connection import Connection
from headrace.errors import ObjectAlreadyExists

from . import named, places, values
from .exits import Misuse, Refusal
from .explain import facts
from .filters import limit_option
from .output import Cell, heading, local_time, output_option, printable, styled, write_json, write_table
from .session import current

_NAME = click.argument("name", metavar="POOL")

_LIMIT = click.IntRange(0, 2**31 - 1)

_TEMPLATE = click.option(
    "--base-job-template",
    metavar="FILE",
    help="A JSON file with the base job template, - for standard input; otherwise the type's own.",
)


@click.group(name="work-pool")
def group() -> None:
    """Make, view, limit, pause and delete work pools.

    A work pool is a kind of place where runs can happen. Its workers ask for its runs, the queues of it in their order.
    """


@group.command(epilog="Example: headrace work-pool create laptops --concurrency-limit 4")
@click.argument("name", metavar="POOL", callback=places.new_name)
@click.option("-t", "--type", "kind", default="process", show_default=True, help="The type of pool.")
@click.option("--paused", is_flag=True, help="Let its runs wait until `headrace work-pool resume`.")
@_TEMPLATE
@click.option(
    "--concurrency-limit", type=_LIMIT, metavar="N", help="The most runs at once in all its queues."
)
@click.option("--description", help="What it is for.")
@click.option("--overwrite", is_flag=True, help="Change the pool of this name if there is one.")
@output_option
def create(
    name: str,
    kind: str,
    paused: bool,
    base_job_template: str | None,
    concurrency_limit: int | None,
    description: str | None,
    overwrite: bool,
    output: str,
) -> None:
    """Make a work pool with its default queue."""
    connection = current().connection
    body: Json = {
        "name": name,
        "type": kind,
        "is_paused": paused,
        "base_job_template": _template(connection, kind, base_job_template),
        "concurrency_limit": concurrency_limit,
        "description": description,
    }
    pool, made = _put(connection, body, overwrite=overwrite)
    if output == "json":
        write_json(pool)
        return
    click.echo(
        f"{'Made' if made else 'Changed'} work pool {printable(name)} of type {printable(pool['type'])}."
    )
    click.echo(f"Start a worker for it with: headrace worker start -p {printable(name)}")


def _put(connection: Connection, body: Json, *, overwrite: bool) -> tuple[Json, bool]:
    """Make a pool, or change the one of its name; return it and whether it is new."""
    name = body["name"]
    try:
        return calls.create_work_pool(connection, body), True
    except ObjectAlreadyExists as error:
        known = calls.work_pool(connection, name)
        if not overwrite:
            raise Refusal(
                f"There is a work pool {name!r} already. `headrace work-pool update` changes it, "
                "--overwrite replaces its settings."
            ) from error
    if known["type"] != body["type"]:
        raise Refusal(
            f"Work pool {name!r} is of type {known['type']}, and a pool keeps its type. Delete it first, or choose "
            "another name."
        )
    changes = {field: value for field, value in body.items() if field not in ("name", "type")}
    calls.change_work_pool(connection, name, changes)
    return calls.work_pool(connection, name), False


def _template(connection: Connection, kind: str, path: str | None) -> Json:
    """Return the base job template of a file, or of a type of pool."""
    known = calls.job_templates(connection)
    if kind not in known:
        raise Refusal(f"There is no type of work pool {kind!r}. There is: {', '.join(sorted(known))}.")
    return known[kind] if path is None else values.json_file(path)


@group.command(epilog="Example: headrace work-pool ls")
@limit_option(200)
@output_option
def ls(limit: int, output: str) -> None:
    """List work pools by name."""
    pools = calls.work_pools(current().connection, limit=limit)
    if output == "json":
        write_json(pools)
        return
    write_table(
        ("NAME", "TYPE", "STATUS", "SLOTS", "DESCRIPTION"),
        [
            (
                pool["name"],
                pool["type"],
                places.status_cell(pool),
                places.slots(pool),
                pool.get("description") or "",
            )
            for pool in pools
        ],
        empty="No work pools. `headrace work-pool create NAME` makes one.",
    )


@group.command(epilog="Example: headrace work-pool inspect laptops")
@_NAME
@output_option
def inspect(name: str, output: str) -> None:
    """Show a work pool: its status, its queues, its workers, and what its jobs may set."""
    connection = current().connection
    pool = named.work_pool(connection, name)
    if output == "json":
        write_json(pool)
        return
    status = places.status_cell(pool)
    click.echo(f"Work pool {printable(pool['name'])}")
    facts(
        [
            ("id", pool["id"]),
            ("type", printable(pool["type"])),
            ("status", f"{styled(status)} ({places.MEANINGS.get(status.text, '')})"),
            ("slots", places.slots(pool)),
            ("description", printable(pool.get("description") or "")),
            ("created", local_time(pool.get("created"))),
        ]
    )
    _write_queues(calls.work_queues(connection, pool=name, limit=None))
    _write_workers(calls.workers(connection, name, limit=calls.PAGE))
    _write_variables(pool.get("base_job_template") or {})


def _write_queues(queues: list[Json]) -> None:
    heading("Queues, the first to be served first")
    rows = [
        (queue["name"], str(queue["priority"]), places.status_cell(queue), places.slots(queue))
        for queue in queues
    ]
    write_table(("NAME", "PRIORITY", "STATUS", "SLOTS"), rows, empty="")


def _write_workers(workers: list[Json]) -> None:
    heading("Workers")
    if not workers:
        click.echo("None has been heard of.")
        return
    rows = [
        (
            worker["name"],
            Cell(worker["status"], "green" if worker["status"] == "ONLINE" else "red"),
            local_time(worker.get("last_heartbeat_time")),
        )
        for worker in workers
    ]
    write_table(("NAME", "STATUS", "LAST HEARD OF"), rows, empty="")


def _write_variables(template: Json) -> None:
    """Write what jobs of a pool may set, with the defaults."""
    rules = (template.get("variables") or {}).get("properties") or {}
    if not rules:
        return
    heading("Job settings and their defaults")
    rows = [
        (name, json.dumps(rule["default"], ensure_ascii=False) if rule.get("default") is not None else "")
        for name, rule in rules.items()
        if isinstance(rule, dict)
    ]
    write_table(("NAME", "DEFAULT"), rows, empty="")


@group.command(epilog="Example: headrace work-pool pause laptops")
@_NAME
def pause(name: str) -> None:
    """Let the runs of a work pool wait; those that run go on."""
    _change(name, {"is_paused": True})
    click.echo(f"Paused work pool {printable(name)}: no more of its runs are begun. Those that run go on.")


@group.command(epilog="Example: headrace work-pool resume laptops")
@_NAME
def resume(name: str) -> None:
    """Let the runs of a paused work pool begin again."""
    _change(name, {"is_paused": False})
    click.echo(f"Resumed work pool {printable(name)}.")


def _change(name: str, changes: Json) -> None:
    connection = current().connection
    named.work_pool(connection, name)
    calls.change_work_pool(connection, name, changes)


@group.command(epilog="Example: headrace work-pool update laptops --description 'the small machines'")
@_NAME
@_TEMPLATE
@click.option(
    "--concurrency-limit", type=_LIMIT, metavar="N", help="The most runs at once in all its queues."
)
@click.option("--description", help="What it is for.")
def update(
    name: str, base_job_template: str | None, concurrency_limit: int | None, description: str | None
) -> None:
    """Change a work pool: what is given, and nothing else."""
    given: dict[str, Any] = {"concurrency_limit": concurrency_limit, "description": description}
    changes = {field: value for field, value in given.items() if value is not None}
    if base_job_template is not None:
        changes["base_job_template"] = values.json_file(base_job_template)
    if not changes:
        raise Misuse("Nothing to change. Give --base-job-template, --concurrency-limit or --description.")
    _change(name, changes)
    click.echo(
        f"Changed {', '.join(field.replace('_', ' ') for field in changes)} of work pool {printable(name)}."
    )


@group.command(epilog="Example: headrace work-pool set-concurrency-limit laptops 4")
@_NAME
@click.argument("limit", metavar="N", type=_LIMIT)
def set_concurrency_limit(name: str, limit: int) -> None:
    """Let at most N runs of a work pool run at once, over all its queues and workers."""
    _change(name, {"concurrency_limit": limit})
    click.echo(f"At most {limit} runs of work pool {printable(name)} run at once now.")


@group.command(epilog="Example: headrace work-pool clear-concurrency-limit laptops")
@_NAME
def clear_concurrency_limit(name: str) -> None:
    """Let any number of runs of a work pool run at once."""
    _change(name, {"concurrency_limit": None})
    click.echo(f"Work pool {printable(name)} has no limit now; its queues keep theirs.")


@group.command(epilog="Example: headrace work-pool delete laptops --yes")
@click.argument("names", metavar="POOL...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete(names: tuple[str, ...], yes: bool) -> None:
    """Delete work pools with their queues; their deployments stay, without a queue."""
    connection = current().connection
    pools = [named.work_pool(connection, name) for name in names]
    if not yes:
        heading("To be deleted, with their queues; their deployments stay, without a queue:")
        for pool in pools:
            within = {"work_pools": {"name": {"any_": [pool["name"]]}}}
            placed = calls.deployments(connection, within, limit=calls.PAGE)
            more = " or more" if len(placed) == calls.PAGE else ""
            click.echo(f"  {printable(pool['name'])}, {len(placed)}{more} deployments")
        click.confirm("Delete?", abort=True)
    for pool in pools:
        calls.delete_work_pool(connection, pool["name"])
        click.echo(f"Deleted work pool {printable(pool['name'])}.")


@group.command(epilog="Example: headrace work-pool preview laptops --hours 24")
@_NAME
@click.option(
    "--hours", type=click.FloatRange(min=0), default=1.0, show_default=True, help="How far to look ahead."
)
@limit_option(50)
@output_option
def preview(name: str, hours: float, limit: int, output: str) -> None:
    """List the runs that are due in a work pool within some hours."""
    connection = current().connection
    named.work_pool(connection, name)
    before = datetime.now(timezone.utc) + timedelta(hours=min(hours, 24 * 36_500))
    place = {"work_pools": {"name": {"any_": [name]}}}
    runs = places.waiting(connection, place, before=before, limit=limit)
    if output == "json":
        write_json(runs)
    else:
        places.write_waiting(runs, empty=f"No runs of work pool {name} are due within {hours:g} h.")


@group.command(epilog="Example: headrace work-pool slots laptops")
@_NAME
@output_option
def slots(name: str, output: str) -> None:
    """Show how many slots of a work pool and its queues are held, and by which runs."""
    connection = current().connection
    pool = named.work_pool(connection, name)
    found = calls.work_pool_slots(connection, pool["name"])
    if output == "json":
        write_json(found)
        return
    click.echo(f"Work pool {printable(name)}: {places.slots(found)} slots are held.")
    rows = [(queue["queue_name"], places.slots(queue)) for queue in found["queues"]]
    write_table(("QUEUE", "SLOTS"), rows, empty="")
    places.write_holders(
        [(queue["queue_name"], run) for queue in found["queues"] for run in queue["flow_runs"]]
    )


@group.command(
    epilog="Example: headrace work-pool get-default-base-job-template --type process --file template.json"
)
@click.option("-t", "--type", "kind", default="process", show_default=True, help="The type of pool.")
@click.option("-f", "--file", "path", metavar="FILE", help="Write it to this file.")
def get_default_base_job_template(kind: str, path: str | None) -> None:
    """Write the base job template that a new pool of a type gets, to be changed and given back."""
    template = _template(current().connection, kind, None)
    if path is None:
        write_json(template)
        return
    try:
        Path(path).write_text(json.dumps(template, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise Misuse(f"{path} cannot be written: {error.strerror}.") from error
    click.echo(f"Wrote the base job template of type {printable(kind)} to {path}.")
