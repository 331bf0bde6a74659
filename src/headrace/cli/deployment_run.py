"""``headrace deployment run``: make a run of a deployment and, if asked, follow it to its end."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import click

from headrace.client import calls
from headrace.client.calls import Json
from headrace.client.connection import Connection
from headrace.errors import ApiError

from . import following, named, values
from .exits import OF_STATE, Misuse, Refusal
from .output import local_time, output_option, printable, write_json
from .session import current

_MISFIT = re.compile(r"Validation failed for (parameters|job variables): (.*)", re.DOTALL)
"""What the server says of what does not fit; the first words are the contract's."""


@click.command(
    epilog="Example: headrace deployment run etl/nightly --param day=2026-11-23 --watch && echo done"
)
@click.argument("name", metavar="[FLOW/DEPLOYMENT]", required=False)
@click.option("--id", "id", metavar="ID", help="The deployment by its id, in place of its name.")
@click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter; the value is JSON if it can be read so, else text. May be repeated.",
)
@click.option(
    "--params", "document", metavar="JSON", help="Parameters as a JSON object, - from standard input."
)
@click.option(
    "-jv",
    "--job-variable",
    "job_variables",
    multiple=True,
    metavar="KEY=VALUE",
    help="A job setting for this run alone, such as memory_limit=1GiB or env.DAY=1. May be repeated.",
)
@click.option("--start-in", metavar="LENGTH", help="Not now, but in 90s, 5m, 1h30m, '2 days'.")
@click.option("--start-at", metavar="TIME", help="Not now, but at 17:30, 5:30pm, 2026-11-23T17:30.")
@click.option("-t", "--tag", "tags", multiple=True, help="A tag of the run; may be repeated.")
@click.option("--flow-run-name", metavar="NAME", help="A name for the run, in place of a made-up one.")
@click.option(
    "--watch",
    is_flag=True,
    help="Follow its states and log to the end; the exit code tells how it ended, as with flow-run watch.",
)
@click.option("--watch-interval", type=click.FloatRange(0.1), metavar="SECONDS", help="How often to look.")
@click.option("--watch-timeout", type=click.FloatRange(0), metavar="SECONDS", help="How long to watch.")
@output_option
def run(name: str | None, id: str | None, output: str, **options: Any) -> int | None:
    """Make a run of a deployment, due now or at a time.

    With -o json it prints the run; with --watch, too, the run as it ended.
    """
    if (name is None) == (id is None):
        raise Misuse("Say which deployment: FLOW/DEPLOYMENT, or --id ID.")
    body = _body(options, datetime.now(timezone.utc))
    pace = following.Pace.of(options["watch_interval"], options["watch_timeout"])
    connection = current().connection
    deployment = named.deployment(connection, name or id or "")
    _refuse_unknown(deployment, body["parameters"])
    made = calls.with_flow_names(connection, [_make(connection, deployment, body)])[0]
    if output == "table":
        _tell(connection, deployment, made, watch=options["watch"])
    if not options["watch"]:
        if output == "json":
            write_json(made)
        return None
    ended = _watch(made, pace, output)
    return OF_STATE[ended["state_type"]]


def _body(options: dict[str, Any], now: datetime) -> Json:
    """Return the request that options ask for."""
    document = options["document"]
    parameters = values.json_object(document, "--params") if document is not None else {}
    body: Json = {
        "parameters": {**parameters, **values.pairs(options["parameters"], "--param")},
        "tags": list(options["tags"]),
    }
    if options["job_variables"]:
        body["job_variables"] = job_variables(options["job_variables"])
    if options["flow_run_name"]:
        body["name"] = options["flow_run_name"]
    due = _due(options["start_in"], options["start_at"], now)
    if due is not None:
        body["state"] = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
    return body


def job_variables(texts: tuple[str, ...]) -> Json:
    """Return job settings; an environment variable is text, also where it could be read as a number."""
    found = values.pairs(texts, "--job-variable")
    plain = (text.partition("=") for text in texts)
    return {**found, **{key.strip(): value for key, _, value in plain if key.strip().startswith("env.")}}


def _due(start_in: str | None, start_at: str | None, now: datetime) -> datetime | None:
    if start_in is not None and start_at is not None:
        raise Misuse("--start-in and --start-at both say when; give one of them.")
    if start_in is not None:
        return values.moment_in(start_in, now)
    return values.moment_at(start_at, now) if start_at is not None else None


def _refuse_unknown(deployment: Json, parameters: Json) -> None:
    """Refuse parameters that the flow does not have: as JSON schemas go they would fit, and fail the run later."""
    rules = (deployment.get("parameter_openapi_schema") or {}).get("properties")
    if not deployment.get("enforce_parameter_schema") or not isinstance(rules, dict):
        return
    unknown = [each for each in parameters if each not in rules]
    if not unknown:
        return
    name = named.full_name(deployment)
    takes = f" It takes: {', '.join(rules)}." if rules else " It takes none."
    hint = named.near(unknown[0], rules, f"headrace deployment inspect {name}") if rules else ""
    raise Refusal(f"{name} has no parameter {', '.join(map(repr, unknown))}.{hint}{takes} No run was made.")


def _make(connection: Connection, deployment: Json, body: Json) -> Json:
    try:
        return calls.run_of_deployment(connection, deployment["id"], body)
    except ApiError as error:
        detail = error.body.get("detail") if isinstance(error.body, dict) else None
        misfit = _MISFIT.search(str(detail))
        if misfit is None:
            raise
        name, pool = named.full_name(deployment), deployment.get("work_pool_name")
        where = f"deployment inspect {name}" if misfit[1] == "parameters" else f"work-pool inspect {pool}"
        raise Refusal(
            f"The {misfit[1]} do not fit, so no run of {name} was made: {misfit[2]}\n"
            f"See what they may be with: headrace {where}"
        ) from error


def _tell(connection: Connection, deployment: Json, run: Json, *, watch: bool) -> None:
    due = local_time(run.get("next_scheduled_start_time") or run.get("expected_start_time"))
    click.echo(
        f"Made flow run {printable(run['name'])} of {printable(named.full_name(deployment))}: {run['id']}, due {due}."
    )
    for line in _what_holds_it(connection, deployment):
        click.echo(line)
    if not watch:
        click.echo(f"Follow it with: headrace flow-run watch {run['id']}")


def _what_holds_it(connection: Connection, deployment: Json) -> list[str]:
    """Return what a person has to do before the run can begin: nothing, when somebody asks for it."""
    pool_name = deployment.get("work_pool_name")
    if pool_name is None:
        if deployment.get("status") == "READY":
            return []
        return ["It has no work pool, and nobody serves it now: it begins once its flow.serve() runs."]
    pool = printable(pool_name)
    if calls.work_pool(connection, pool_name)["status"] == "PAUSED":
        return [f"Work pool {pool} is paused, so it waits. `headrace work-pool resume {pool}` lets it begin."]
    wanted = {"id": {"any_": [deployment.get("work_queue_id")]}}
    for queue in calls.work_queues(connection, wanted, limit=1):
        name = printable(queue["name"])
        if queue["status"] == "PAUSED":
            return [
                f"Work queue {name} of {pool} is paused, so it waits. "
                f"`headrace work-queue resume {name} -p {pool}` lets it begin."
            ]
        if queue["status"] == "NOT_READY":
            return [f"No worker asks for runs of it now. Start one with: headrace worker start -p {pool}"]
    return []


def _watch(run: Json, pace: following.Pace, output: str) -> Json:
    if output == "table":
        return following.states_and_lines(run, pace)
    ended = following.to_the_end(run, lambda _: None, pace)
    write_json(ended)
    return ended
