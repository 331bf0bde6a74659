"""``headrace flow-run``: list, follow, explain, cancel, retry, suspend, resume and delete flow runs."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from typing import Any

import click

from headrace.client import calls
from headrace.client.calls import Json
from headrace.client.connection import Connection
from headrace.errors import ObjectNotFound
from headrace.journal.spool import Folder
from headrace.model import marks
from headrace.model.states import TERMINAL

from . import explain, following, named, pick, places, values
from .advice import account
from .exits import OF_STATE, Code, Refusal
from .filters import filter_options, flow_filter, run_filter, state_filter
from .lines import log_line, log_options, write_logs
from .output import (
    duration,
    heading,
    id_cell,
    local_time,
    output_option,
    printable,
    state_cell,
    write_json,
    write_json_line,
    write_table,
)
from .session import current

_TASKS_EXPLAINED = 5
"""Task runs that did not complete, told where a run is explained."""

_LONGEST_S = 10.0 * 366 * 86_400
"""How long a run may be suspended: ten years, which every calendar has."""


@click.group(name="flow-run")
def group() -> None:
    """List, follow, explain, cancel, retry, suspend, resume and delete flow runs.

    RUN is an id, the first or last characters of one, or a run's name.
    """


@group.command(epilog="Example: headrace flow-run ls --state failed,crashed --since 1d -o json")
@filter_options
@output_option
def ls(
    states: tuple[str, ...],
    flows: tuple[str, ...],
    tags: tuple[str, ...],
    since: str | None,
    limit: int,
    output: str,
) -> None:
    """List flow runs, the latest first.

    Runs that are planned for later are listed with --state scheduled.
    """
    now, of_flows = datetime.now(timezone.utc), flow_filter(flows)
    wanted = run_filter(states, tags, since, now) or {}
    if not states:  # a schedule plans a hundred runs: they would bury those that ran
        wanted["expected_start_time"] = {
            **wanted.get("expected_start_time", {}),
            "before_": now.isoformat(),
        }
    connection = current().connection
    runs = calls.flow_runs(connection, {"flow_runs": wanted, "flows": of_flows}, limit=limit)
    if output == "json":
        write_json(runs)
        return
    write_run_table(runs)
    if not states:
        later = {"expected_start_time": {"after_": now.isoformat()}, "state": state_filter(("scheduled",))}
        planned = {"flow_runs": {**(run_filter((), tags, None, now) or {}), **later}, "flows": of_flows}
        _tell_of_planned(calls.count_flow_runs(connection, planned))


def _tell_of_planned(count: int) -> None:
    if count:
        runs = "1 more is" if count == 1 else f"{count:,} more are"
        click.echo(f"{runs} planned for later: headrace flow-run ls --state scheduled", err=True)


def write_run_table(runs: list[Json]) -> None:
    """Write flow runs as ``headrace flow-run ls`` does."""
    write_table(
        ("ID", "NAME", "FLOW", "STATE", "STARTED", "TOOK"),
        [
            (
                id_cell(run["id"]),
                run["name"],
                run.get("flow_name") or "",
                state_cell(run),
                local_time(run.get("start_time") or run.get("expected_start_time")),
                explain.took(run),
            )
            for run in runs
        ],
        empty="No flow runs.",
    )


@group.command(epilog="Example: headrace flow-run inspect brave-otter")
@pick.RUN_ARGUMENT
@output_option
def inspect(run: str, output: str) -> None:
    """Show a flow run whole: its state, how it came to it, the evidence, and when its tasks ran."""
    connection = current().connection
    found = pick.flow_run(connection, run)
    if output == "json":
        write_json(found)
        return
    _inspect(connection, found)


@group.command(name="explain", epilog="Example: headrace flow-run explain brave-otter")
@pick.RUN_ARGUMENT
@output_option
def explain_command(run: str, output: str) -> None:
    """Say why a flow run ended as it did: the cause in one sentence, the evidence, and what to do next."""
    connection = current().connection
    found = pick.flow_run(connection, run)
    told = account(found)
    if output == "json":
        write_json(explain.account_json(found, told))
        return
    click.echo(f"Flow run {printable(found['name'])} of flow {printable(found.get('flow_name') or '?')}")
    explain.account(found, told)
    bad = {
        "flow_runs": {"id": {"any_": [found["id"]]}},
        "task_runs": {"state": {"type": {"any_": ["FAILED", "CRASHED"]}}},
    }
    explain.unfinished(calls.task_runs(connection, bad, limit=_TASKS_EXPLAINED))
    explain.evidence(found.get("state"))
    explain.advice(told)


def _inspect(connection: Connection, run: Json) -> None:
    click.echo(f"Flow run {printable(run['name'])} of flow {printable(run.get('flow_name') or '?')}")
    explain.state_lines(run)
    explain.facts(
        [
            ("id", run["id"]),
            ("deployment", printable(_deployment(connection, run))),
            ("work queue", printable(places.name_of(run))),
            ("due", local_time(run.get("next_scheduled_start_time"), millis=True)),
            ("started", local_time(run.get("start_time"), millis=True)),
            ("ended", local_time(run.get("end_time"), millis=True)),
            ("ran for", explain.took(run)),
            ("run count", str(run.get("run_count") or "") if (run.get("run_count") or 0) > 1 else ""),
            ("parameters", printable(_brief(run.get("parameters")))),
            ("tags", printable(", ".join(run.get("tags") or []))),
            ("version", printable(run.get("flow_version") or "")),
            ("parent run", _parent(run)),
        ]
    )
    explain.history(run.get("state_history") or [])
    explain.evidence(run.get("state"))
    of_run = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    tasks = calls.task_runs(connection, of_run, limit=explain.TASKS_SHOWN)
    total = calls.count_task_runs(connection, of_run) if len(tasks) == explain.TASKS_SHOWN else len(tasks)
    called = {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}}
    children = calls.flow_runs(connection, called, limit=calls.PAGE) if tasks else []
    by_task = {child["parent_task_run_id"]: child for child in children}
    explain.timeline(tasks, by_task, total, datetime.now(timezone.utc))


def _deployment(connection: Connection, run: Json) -> str:
    """Return the name of the deployment that a run is of, or its id when it is not there any more."""
    id = run.get("deployment_id")
    if not id:
        return ""
    try:
        return named.full_name(calls.deployment(connection, id))
    except ObjectNotFound:
        return f"{id} (deleted)"


def _brief(value: Any) -> str:
    import json  # here: only this view needs it

    text = json.dumps(value, ensure_ascii=False) if value else ""
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text):,} characters; -o json shows them)"


def _parent(run: Json) -> str:
    return str(run.get("parent_flow_run_id") or "")


@group.command(epilog="Example: headrace flow-run logs -f brave-otter")
@pick.RUN_ARGUMENT
@log_options
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the run has ended.")
@output_option
def logs(
    run: str, level: int | None, limit: int | None, tail: int | None, follow: bool, output: str
) -> int | None:
    """Show a flow run's log; JSON lines with --follow, a JSON list without."""
    connection = current().connection
    found = pick.flow_run(connection, run)
    filters: Json = {"flow_run_id": {"any_": [found["id"]]}}
    if level is not None:
        filters["level"] = {"ge_": level}
    if not follow:
        write_logs(connection, filters, limit=limit, tail=tail, output=output)
        return None
    for line in following.lines_of(found, filters, tail):
        if output == "json":
            write_json_line(line)
        else:
            click.echo(log_line(line))
    return None


@group.command(epilog="Example: headrace flow-run watch brave-otter && echo done")
@pick.RUN_ARGUMENT
@output_option
def watch(run: str, output: str) -> int:
    """Follow a flow run to its end; the exit code tells how it ended (0 Completed, 1 Failed, 4 Crashed, 5 Cancelled).

    With -o json it writes one line for each state.
    """
    connection = current().connection
    found = pick.flow_run(connection, run)
    if output == "table":
        flow = printable(found.get("flow_name") or "?")
        click.echo(f"Flow run {printable(found['name'])} of flow {flow}, {found['id']}")
    states = following.States()
    ended = following.to_the_end(found, lambda run: _write_states(states.take(run), output))
    return OF_STATE[ended["state_type"]]


def _write_states(states: list[Json], output: str) -> None:
    for entry in states:
        if output == "json":
            write_json_line(entry)
        else:
            click.echo(explain.state_line(entry))


@group.command(epilog="Example: headrace flow-run cancel brave-otter")
@pick.RUN_ARGUMENT
@output_option
def cancel(run: str, output: str) -> int:
    """Ask that a flow run end, and say what will happen."""
    session = current()
    found = pick.flow_run(session.connection, run)
    who = _user()
    state = {"type": "CANCELLING", "name": "Cancelling", "message": f"Cancel was asked by {who}."}
    answer = calls.set_flow_run_state(session.connection, found["id"], state, who=who)
    if output == "json":
        write_json(answer)
    else:
        _tell_cancel(found, answer, session.settings.grace_seconds)
    return Code.OK if _is_cancelled(answer) else Code.FAILED


def _is_cancelled(answer: Json) -> bool:
    return (answer.get("state") or {}).get("type") in ("CANCELLING", "CANCELLED") and answer[
        "status"
    ] != "ABORT"


def _tell_cancel(run: Json, answer: Json, grace_s: float) -> None:
    name = printable(run["name"])
    kind = (answer.get("state") or {}).get("type")
    if not _is_cancelled(answer):
        click.echo(f"{name} was not cancelled: {_reason(answer)}", err=True)
    elif kind == "CANCELLED":
        click.echo(f"{name} had not begun; it is Cancelled now.")
    else:
        click.echo(
            f"{name} is Cancelling: its process is told to end, and after {duration(grace_s)} of grace "
            "(setting grace_seconds on its host) the whole process tree is killed.\n"
            f"Follow it with: headrace flow-run watch {run['id']}"
        )


@group.command(epilog="Example: headrace flow-run retry brave-otter")
@pick.RUN_ARGUMENT
@output_option
def retry(run: str, output: str) -> int:
    """Let a run of a deployment that has ended be tried once more, by a worker."""
    session = current()
    found = pick.flow_run(session.connection, run)
    _refuse_retry(found)
    who = _user()
    state = {
        "type": "SCHEDULED",
        "name": "AwaitingRetry",
        "message": f"Another try was asked by {who}.",
        "state_details": {"scheduled_time": datetime.now(timezone.utc).isoformat()},
    }
    answer = calls.set_flow_run_state(session.connection, found["id"], state, who=who)
    told = {"SCHEDULED": "is AwaitingRetry: a worker of its work pool will start it again."}
    return _tell_answer(found, answer, output, "cannot be tried again", told)


def _refuse_retry(run: Json) -> None:
    name = printable(run["name"])
    if run.get("state_type") not in TERMINAL:
        raise Refusal(
            f"{name} has not ended (it is {run.get('state_name') or 'in no state'}), so there is nothing to try again. "
            f"`headrace flow-run cancel {run['id']}` ends it."
        )
    if not run.get("deployment_id"):
        raise Refusal(
            f"{name} is no run of a deployment, so no worker could start it. Run its script once more; or deploy the "
            "flow (`headrace deploy`), and `headrace deployment run` makes runs that can be tried again."
        )


@group.command(epilog="Example: headrace flow-run suspend brave-otter")
@pick.RUN_ARGUMENT
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, _LONGEST_S, min_open=True),
    default=3600.0,
    metavar="SECONDS",
    help="How long it may wait to be resumed before it counts as Failed; an hour if not given.",
)
@output_option
def suspend(run: str, timeout_s: float, output: str) -> int:
    """Let a run of a deployment end its process before its next task and wait, without a slot, to be resumed."""
    session = current()
    found = pick.flow_run(session.connection, run)
    who = _user()
    until = datetime.now(timezone.utc) + timedelta(seconds=timeout_s)
    state = {
        "type": "PAUSED",
        "name": "Suspended",
        "message": f"Suspending was asked by {who}.",
        "state_details": {"pause_reschedule": True, "pause_timeout": until.isoformat()},
    }
    answer = calls.set_flow_run_state(session.connection, found["id"], state, who=who)
    resume = f"`headrace flow-run resume {found['id']}` lets it go on."
    asked = f"was asked to suspend: its process ends before its next task. {resume}"
    # SCHEDULED: its process waits for its next try
    told = {"PAUSED": f"is Suspended. {resume}", "RUNNING": asked, "SCHEDULED": asked}
    return _tell_answer(found, answer, output, "was not suspended", told)


@group.command(epilog="Example: headrace flow-run resume brave-otter --input '{\"approved\": true}'")
@pick.RUN_ARGUMENT
@click.option(
    "--input", "given", metavar="JSON", help="What it waits for, as a JSON object; - reads standard input."
)
@output_option
def resume(run: str, given: str | None, output: str) -> int:
    """Let a paused or suspended run go on."""
    run_input = values.json_object(given, "--input") if given is not None else None
    connection = current().connection
    found = pick.flow_run(connection, run)
    answer = calls.resume_flow_run(connection, found["id"], run_input, who=_user())
    told = {
        "RUNNING": "goes on.",
        "SCHEDULED": "is Resuming: a worker of its work pool will start it again, and it goes on where it was.",
    }
    return _tell_answer(found, answer, output, "was not resumed", told)


def _tell_answer(run: Json, answer: Json, output: str, refused: str, told: dict[str, str]) -> int:
    """Write what the server made of a proposal; ``told`` says of each type of state that was hoped for what it means."""
    kind = (answer.get("state") or {}).get("type")
    done = answer["status"] == "ACCEPT" and kind in told
    if output == "json":
        write_json(answer)
    elif done:
        click.echo(f"{printable(run['name'])} {told[str(kind)]}")
    else:
        click.echo(f"{printable(run['name'])} {refused}: {_reason(answer)}", err=True)
    return Code.OK if done else Code.FAILED


def _reason(answer: Json) -> str:
    reason = (answer.get("details") or {}).get("reason")
    return printable(str(reason or f"the server answered {answer['status']}"))


def _user() -> str:
    import getpass  # here: only this command needs it

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user id without a name, as containers have them
        return "an unnamed user"


@group.command(epilog="Example: headrace flow-run delete brave-otter --yes")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete(runs: tuple[str, ...], yes: bool) -> None:
    """Delete flow runs with their task runs and logs."""
    connection = current().connection
    found = [pick.flow_run(connection, run) for run in runs]
    if not yes:
        heading("To be deleted, with their task runs and logs:")
        for run in found:
            note = "" if run.get("state_type") in TERMINAL else "; it has not ended and may report again"
            click.echo(
                f"  {run['id']}  {printable(run['name'])}, {run.get('state_name') or 'no state'}{note}"
            )
        click.confirm("Delete?", abort=True)
    for run in found:
        calls.delete_flow_run(connection, run["id"])
        click.echo(f"Deleted {printable(run['name'])} ({run['id']}).")


@group.command(
    epilog="Example: headrace flow-run execute (as a job's command: nice -n 10 headrace flow-run execute)",
    hidden=False,
)
def execute() -> None:
    """Carry out the run that a worker started this process for: what a job's own `command` ends in."""
    from pathlib import Path

    from headrace import flow_process  # here: it loads the engine

    place = os.environ.get(marks.FOLDER)
    if place is None:
        raise Refusal(
            f"{marks.FOLDER} is not set: only a worker starts runs so. To run a deployment, use "
            "`headrace deployment run`."
        )
    raise SystemExit(flow_process.main(Folder(Path(place))))
