"""``headrace task-run``: list and explain task runs."""

from __future__ import annotations

from datetime import datetime, timezone

import click

from headrace.client import calls
from headrace.client.calls import Json

from . import explain, pick
from .filters import filter_options, flow_filter, run_filter
from .lines import log_options, write_logs
from .output import id_cell, local_time, output_option, printable, state_cell, write_json, write_table
from .session import current

_FLOW_RUN_OPTION = click.option(
    "--flow-run",
    "flow_run",
    metavar="RUN",
    help="Only within this flow run: its id, an end of it, or its name.",
)


@click.group(name="task-run")
def group() -> None:
    """List and explain task runs.

    TASK_RUN is an id, the first or last characters of one, or a name that no other task run has.
    """


@group.command(epilog="Example: headrace task-run ls --flow-run brave-otter --state failed")
@_FLOW_RUN_OPTION
@filter_options
@output_option
def ls(
    flow_run: str | None,
    states: tuple[str, ...],
    flows: tuple[str, ...],
    tags: tuple[str, ...],
    since: str | None,
    limit: int,
    output: str,
) -> None:
    """List task runs: those of a flow run in the order of their start, otherwise the latest first."""
    connection = current().connection
    filters: Json = {
        "task_runs": run_filter(states, tags, since, datetime.now(timezone.utc)),
        "flows": flow_filter(flows),
    }
    if flow_run is not None:
        filters["flow_runs"] = {"id": {"any_": [pick.flow_run(connection, flow_run)["id"]]}}
    sort = "EXPECTED_START_TIME_ASC" if flow_run is not None else "EXPECTED_START_TIME_DESC"
    runs = calls.task_runs(connection, filters, limit=limit, sort=sort)
    if output == "json":
        write_json(runs)
        return
    write_table(
        ("ID", "NAME", "STATE", "STARTED", "TOOK", "FLOW RUN"),
        [
            (
                id_cell(run["id"]),
                run["name"],
                state_cell(run),
                local_time(run.get("start_time") or run.get("expected_start_time")),
                explain.took(run),
                id_cell(run.get("flow_run_id")),
            )
            for run in runs
        ],
        empty="No task runs.",
    )


@group.command(epilog="Example: headrace task-run inspect extract-3 --flow-run brave-otter")
@click.argument("task_run", metavar="TASK_RUN")
@_FLOW_RUN_OPTION
@output_option
def inspect(task_run: str, flow_run: str | None, output: str) -> None:
    """Explain a task run: its state, how it came to it, and the evidence."""
    found = _pick(task_run, flow_run)
    if output == "json":
        write_json(found)
        return
    click.echo(f"Task run {printable(found['name'])}")
    explain.state_lines(found)
    explain.facts(
        [
            ("id", found["id"]),
            ("flow run", found.get("flow_run_id") or ""),
            ("started", local_time(found.get("start_time"), millis=True)),
            ("ended", local_time(found.get("end_time"), millis=True)),
            ("ran for", explain.took(found)),
            ("run count", str(found["run_count"]) if (found.get("run_count") or 0) > 1 else ""),
            ("task key", printable(found.get("task_key") or "")),
            ("tags", printable(", ".join(found.get("tags") or []))),
        ]
    )
    explain.history(found.get("state_history") or [])
    explain.evidence(found.get("state"))


@group.command(epilog="Example: headrace task-run logs extract-3 --flow-run brave-otter")
@click.argument("task_run", metavar="TASK_RUN")
@_FLOW_RUN_OPTION
@log_options
@output_option
def logs(
    task_run: str, flow_run: str | None, level: int | None, limit: int | None, tail: int | None, output: str
) -> None:
    """Show a task run's log."""
    found = _pick(task_run, flow_run)
    filters: Json = {"task_run_id": {"any_": [found["id"]]}}
    if level is not None:
        filters["level"] = {"ge_": level}
    write_logs(current().connection, filters, limit=limit, tail=tail, output=output)


def _pick(task_run: str, flow_run: str | None) -> Json:
    connection = current().connection
    within = pick.flow_run(connection, flow_run)["id"] if flow_run is not None else None
    return pick.task_run(connection, task_run, flow_run=within)
