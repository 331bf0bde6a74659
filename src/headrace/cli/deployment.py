"""``headrace deployment``: run, view, pause and delete deployments, and their schedules."""

from __future__ import annotations

import json
from typing import Any

import click

from headrace.client import calls
from headrace.client.calls import Json
from headrace.client.connection import Connection

from . import deployment_run, deployment_schedule, named, places
from .exits import Misuse
from .explain import facts
from .filters import flow_filter, limit_option
from .output import (
    Cell,
    heading,
    id_cell,
    local_time,
    output_option,
    printable,
    styled,
    without_controls,
    write_json,
    write_table,
)
from .session import current

_NAME = click.argument("name", metavar="FLOW/DEPLOYMENT")


@click.group(name="deployment")
def group() -> None:
    """Run, view, pause and delete deployments, and their schedules.

    A deployment is given as FLOW/DEPLOYMENT, by its id, or by its own name where no other one is called so.
    """


group.add_command(deployment_run.run)
group.add_command(deployment_schedule.group)


@group.command(epilog="Example: headrace deployment ls etl")
@click.argument("flows", metavar="[FLOW]...", nargs=-1)
@click.option("--by-created", is_flag=True, help="The newest first, in place of by name.")
@click.option(
    "--tag", "tags", multiple=True, help="Only deployments with this tag; repeated: with all of them."
)
@limit_option(200)
@output_option
def ls(flows: tuple[str, ...], by_created: bool, tags: tuple[str, ...], limit: int, output: str) -> None:
    """List deployments, of all flows or of some."""
    filters: Json = {"flows": flow_filter(flows)}
    if tags:
        filters["deployments"] = {"tags": {"all_": list(tags)}}
    sort = "CREATED_DESC" if by_created else "NAME_ASC"
    found = calls.deployments(current().connection, filters, limit=limit, sort=sort)
    if not by_created:
        found.sort(key=named.full_name)
    if output == "json":
        write_json(found)
        return
    write_table(
        ("NAME", "STATUS", "QUEUE", "SCHEDULES", "TAGS", "ID"),
        [
            (
                named.full_name(each),
                places.status_cell(each),
                places.name_of(each),
                _schedules(each),
                ", ".join(each.get("tags") or []),
                id_cell(each["id"]),
            )
            for each in found
        ],
        empty="No deployments. `headrace deploy` makes one, and so does flow.deploy().",
    )


def _schedules(deployment: Json) -> str:
    planned = [each for each in deployment["schedules"] if each["active"]]
    return "; ".join(deployment_schedule.text_of(each["schedule"]) for each in planned)


@group.command(epilog="Example: headrace deployment inspect etl/nightly")
@_NAME
@output_option
def inspect(name: str, output: str) -> None:
    """Show a deployment: where it runs, what its runs take, when they are planned."""
    found = named.deployment(current().connection, name)
    if output == "json":
        write_json(found)
        return
    click.echo(f"Deployment {printable(named.full_name(found))}")
    facts(
        [
            ("id", found["id"]),
            ("status", _status(found)),
            ("paused because", without_controls(found.get("pause_reason") or "")),
            ("work pool", printable(found.get("work_pool_name") or "")),
            ("work queue", printable(found.get("work_queue_name") or "")),
            ("limit", _limit(found)),
            ("entrypoint", printable(found.get("entrypoint") or "")),
            ("path", printable(found.get("path") or "")),
            ("version", printable(found.get("version") or "")),
            ("tags", printable(", ".join(found.get("tags") or []))),
            ("description", without_controls(found.get("description") or "")),
            ("last polled", local_time(found.get("last_polled")) or "never"),
            ("created", local_time(found.get("created"))),
            ("updated", local_time(found.get("updated"))),
        ]
    )
    _write_parameters(found)
    _write_json_part("Job settings", found.get("job_variables"))
    _write_json_part("Pull steps", found.get("pull_steps"))
    if found["schedules"]:
        heading("Schedules")
        deployment_schedule.write_schedules(found)


def _status(deployment: Json) -> str:
    status = places.status_cell(deployment)
    paused = "its schedules plan no runs"
    meaning = paused if deployment.get("paused") else places.MEANINGS.get(status.text, "")
    return f"{styled(status)} ({meaning})"


def _limit(deployment: Json) -> str:
    limit = deployment.get("global_concurrency_limit")
    if not limit:
        return ""
    strategy = (deployment.get("concurrency_options") or {}).get("collision_strategy") or "ENQUEUE"
    return f"{limit['active_slots']} of {limit['limit']} at once, more than that: {strategy}"


def _write_parameters(deployment: Json) -> None:
    """Write what a run takes and what it is given when nothing else is said."""
    schema = deployment.get("parameter_openapi_schema") or {}
    rules: dict[str, Any] = schema.get("properties") or {}
    given: Json = deployment.get("parameters") or {}
    if not rules and not given:
        return
    heading("Parameters")
    required = set(schema.get("required") or [])
    rows = [
        (name, _type_of(rules.get(name) or {}), _default(name, rules.get(name) or {}, given, required))
        for name in [*rules, *(name for name in given if name not in rules)]
    ]
    write_table(("NAME", "TYPE", "DEFAULT"), rows, empty="")


def _type_of(rule: Json) -> str:
    """Return a word or two for what a parameter may be."""
    if "enum" in rule:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in rule["enum"])
    alternatives = rule.get("anyOf") or rule.get("allOf")
    if isinstance(alternatives, list):
        return " | ".join(filter(None, (_type_of(each) for each in alternatives)))
    if "$ref" in rule:
        return str(rule["$ref"]).rpartition("/")[2]
    kind = rule.get("format") or rule.get("type") or ""
    return str(kind)


def _default(name: str, rule: Json, given: Json, required: set[str]) -> Cell:
    if name in given:
        return Cell(json.dumps(given[name], ensure_ascii=False))
    if "default" in rule:
        return Cell(json.dumps(rule["default"], ensure_ascii=False))
    return Cell("(required)", "yellow") if name in required else Cell("")


def _write_json_part(title: str, value: Any) -> None:
    if value:
        heading(title)
        for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines():
            click.echo(f"  {without_controls(line)}")


@group.command(epilog="Example: headrace deployment pause etl/nightly")
@_NAME
def pause(name: str) -> None:
    """Let the schedules of a deployment plan no more runs; those that were planned go."""
    _set_paused(name, paused=True)
    click.echo(
        f"Paused {printable(name)}: its schedules plan no runs, and those that had been planned are gone. "
        "What runs goes on, and `headrace deployment run` still works."
    )


@group.command(epilog="Example: headrace deployment resume etl/nightly")
@_NAME
def resume(name: str) -> None:
    """Let the schedules of a paused deployment plan runs again."""
    found = _set_paused(name, paused=False)
    active = sum(1 for each in found["schedules"] if each["active"])
    note = "" if active else " It has no active schedule, so no run comes by itself."
    click.echo(f"Resumed {printable(name)}.{note}")


def _set_paused(name: str, *, paused: bool) -> Json:
    connection = current().connection
    found = named.deployment(connection, name)
    calls.set_deployment_paused(connection, found["id"], paused=paused)
    return found


@group.command(epilog="Example: headrace deployment delete etl/nightly --yes")
@click.argument("names", metavar="[FLOW/DEPLOYMENT]...", nargs=-1)
@click.option("--id", "ids", multiple=True, metavar="ID", help="A deployment by its id; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="All deployments.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete(names: tuple[str, ...], ids: tuple[str, ...], everything: bool, yes: bool) -> None:
    """Delete deployments with their schedules and their runs that have not begun."""
    connection = current().connection
    found = _to_delete(connection, [*names, *ids], everything)
    if not yes and found:
        heading("To be deleted, with their schedules and their runs that have not begun; other runs stay:")
        for each in found:
            click.echo(f"  {each['id']}  {printable(named.full_name(each))}")
        click.confirm("Delete?", abort=True)
    for each in found:
        calls.delete_deployment(connection, each["id"])
        click.echo(f"Deleted {printable(named.full_name(each))} ({each['id']}).")


def _to_delete(connection: Connection, texts: list[str], everything: bool) -> list[Json]:
    if everything == bool(texts):
        raise Misuse("Say which deployments: FLOW/DEPLOYMENT, --id ID, or --all of them.")
    if everything:
        return calls.deployments(connection, {}, limit=None)
    return [named.deployment(connection, text) for text in texts]
