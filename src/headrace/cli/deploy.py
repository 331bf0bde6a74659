"""``headrace deploy`` and ``headrace init``: deployments from a project's file, from options, or from answers."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import deploy_questions, values
from .deployment_run import job_variables
from .exits import Misuse
from .session import current

if TYPE_CHECKING:
    from headrace.deployments.project import Entry, Project

Json = dict[str, Any]


@click.command(epilog="Example: headrace deploy flows/etl.py:etl -n nightly -p main --cron '0 6 * * *'")
@click.argument("entrypoint", metavar="[FILE.PY:FUNCTION]", required=False)
@click.option(
    "-n",
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="The deployment's name. Of a file: which of its deployments, as NAME or FLOW/NAME, with * and ?; may be repeated.",
)
@click.option("--all", "everything", is_flag=True, help="Every deployment of the file.")
@click.option("-p", "--pool", metavar="POOL", help="The work pool in which its runs wait.")
@click.option("-q", "--work-queue", "queue", metavar="QUEUE", help="The queue within the pool.")
@click.option(
    "--cron", multiple=True, metavar="CRON", help="A schedule, such as '30 6 * * MON-FRI'; may be repeated."
)
@click.option(
    "--interval", multiple=True, metavar="LENGTH", help="A schedule: 90, 90s, 15m, 1h30m; may be repeated."
)
@click.option("--rrule", multiple=True, metavar="RULE", help="A schedule, such as 'FREQ=MONTHLY;BYDAY=-1FR'.")
@click.option(
    "--timezone", metavar="ZONE", help="The zone of these schedules, such as Europe/Berlin; UTC without."
)
@click.option("--anchor-date", metavar="TIME", help="What --interval counts from; now without.")
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of its runs; JSON, else text.",
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
    help="A job setting, such as memory_limit=1GiB or env.DAY=1; may be repeated.",
)
@click.option("-t", "--tag", "tags", multiple=True, help="A tag of its runs; may be repeated.")
@click.option("-v", "--version", metavar="TEXT", help="The version; without it a hash of the flow's file.")
@click.option("-d", "--description", metavar="TEXT", help="The description; without it the flow's docstring.")
@click.option(
    "-cl", "--concurrency-limit", type=click.IntRange(1), help="How many of its runs may go on at once."
)
@click.option(
    "--collision-strategy",
    type=click.Choice(["ENQUEUE", "CANCEL_NEW"], case_sensitive=False),
    help="What becomes of one too many: it waits, or is cancelled.",
)
@click.option(
    "--file",
    "--prefect-file",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The project's file; without it headrace.yaml, else prefect.yaml, of this folder.",
)
def deploy(
    entrypoint: str | None, names: tuple[str, ...], everything: bool, file: Path | None, **options: Any
) -> None:
    """Make deployments of flows, from headrace.yaml or from options.

    One of the same flow and name is changed. Without a FILE.PY:FUNCTION they come from the project's file; options go over what it says of one. At a terminal, what
    is missing is asked for.
    """
    from headrace.deployments import project  # here, as below: what loads flows is heavy

    found = project.read(file.absolute()) if file else project.find(Path.cwd())
    sys.path.insert(0, str(found.folder))  # as `python flows.py` there would have it
    over = _over(options)
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    chosen, is_new = _choose(found, entrypoint, names, everything, asks)
    if over and len(chosen) > 1:
        raise Misuse(
            f"{len(chosen)} deployments are chosen, and the options would be those of one. Choose one by --name."
        )
    chosen = [deploy_questions.complete(each.over(over), found.folder, asks=asks) for each in chosen]
    for remark in project.remarks(chosen):
        click.echo(remark, err=True)
    _keep(found, chosen)
    if is_new and asks and found.file is None:
        deploy_questions.offer_file(chosen[0], found.folder)


def _keep(found: Project, chosen: list[Entry]) -> None:
    """Have the server keep what was chosen: all flows are loaded and all pools looked up before the first."""
    from headrace.deployments import notices, project, runner

    made = [project.deployment_of(each, found.folder) for each in chosen]
    connection = current().connection
    for pool in dict.fromkeys(each.work_pool_name for each in made):
        runner.require_pool(connection, str(pool))
    for each in made:
        runner.put(connection, each)
    click.echo(notices.deployed(made))


def _choose(
    found: Project, entrypoint: str | None, names: tuple[str, ...], everything: bool, asks: bool
) -> tuple[list[Entry], bool]:
    """Return what is to be deployed, and whether it is none of the file's."""
    if entrypoint is not None:
        return _of_entrypoint(found, entrypoint, names, everything)
    if everything:
        if not found.entries:
            raise Misuse(
                f"{found.file or 'This folder'} has no deployments. `headrace init` writes a file with some."
            )
        return found.entries, False
    if names and found.entries:
        return found.select(names, lambda entry: _flow_name(entry, found)), False
    if len(found.entries) == 1:
        return found.entries, False
    if found.entries:
        return deploy_questions.choose(found.entries, asks=asks), False
    return [deploy_questions.new_entry(found, names, asks=asks)], True


def _of_entrypoint(
    found: Project, entrypoint: str, names: tuple[str, ...], everything: bool
) -> tuple[list[Entry], bool]:
    from headrace.deployments.project import Entry

    if everything or len(names) > 1:
        raise Misuse("FILE.PY:FUNCTION is one deployment; --all and several --name choose from a file.")
    known = found.named(names[0]) if names else None
    if known is not None:
        return [known.over({"entrypoint": entrypoint})], False
    named = {"name": names[0]} if names else {}
    return [Entry({"entrypoint": entrypoint, **named}, found.pull)], True


def _flow_name(entry: Entry, found: Project) -> str:
    from headrace.deployments.fetching import flow_from
    from headrace.deployments.storage import LocalStorage

    return str(flow_from(LocalStorage(found.folder), entry.entrypoint or "").name)


def _over(options: Json) -> Json:
    """Return what the options say of a deployment, under the names of the file."""
    document = options["document"]
    given = values.json_object(document, "--params") if document is not None else {}
    variables = job_variables(options["job_variables"])
    pool = {"name": options["pool"], "work_queue_name": options["queue"], "job_variables": variables or None}
    over = {
        "parameters": {**given, **values.pairs(options["parameters"], "--param")},
        "work_pool": {name: value for name, value in pool.items() if value is not None},
        "tags": list(options["tags"]),
        "version": options["version"],
        "description": options["description"],
        "concurrency_limit": _limit(options),
        "schedules": _schedules(options),
    }
    return {name: value for name, value in over.items() if value not in (None, {}, [])}


def _limit(options: Json) -> Any:
    limit, strategy = options["concurrency_limit"], options["collision_strategy"]
    if strategy is None:
        return limit
    if limit is None:
        raise Misuse(
            "--collision-strategy says what becomes of a run over the limit; give --concurrency-limit too."
        )
    return {"limit": limit, "collision_strategy": strategy}


def _schedules(options: Json) -> list[Json]:
    beside = {"timezone": options["timezone"]} if options["timezone"] else {}
    anchor = {"anchor_date": options["anchor_date"]} if options["anchor_date"] else {}
    found: list[Json] = [{"cron": text, **beside} for text in options["cron"]]
    found += [{"interval": _seconds(text), **anchor, **beside} for text in options["interval"]]
    found += [{"rrule": text, **beside} for text in options["rrule"]]
    if (beside or anchor) and not found:
        raise Misuse(
            "--timezone and --anchor-date belong to a schedule; give --cron, --interval or --rrule too."
        )
    return found


def _seconds(text: str) -> float | str:
    length = values.length_of(text)
    return text if length is None else length.total_seconds()


@click.command(epilog="Example: headrace init")
@click.option("--force", is_flag=True, help="Write over a headrace.yaml that is there.")
def init(force: bool) -> None:
    """Write a headrace.yaml for the flows of this folder, with comments to go on from."""
    from headrace.sources.finding import find_flows

    from .deploy_example import text_of

    folder = Path.cwd()
    target = folder / "headrace.yaml"
    if target.exists() and not force:
        raise Misuse(f"{target} is there already. --force writes over it.")
    flows = find_flows(folder)
    target.write_text(text_of(folder, flows), encoding="utf-8")
    click.echo(f"Wrote {target} with {_counted(len(flows))}.")
    click.echo("  change what it says, then:  headrace deploy --all")
    if flows:
        path, name = flows[0]
        click.echo(
            f"  or one without the file:    headrace deploy {shlex.quote(f'{path.as_posix()}:{name}')} -n NAME -p POOL"
        )


def _counted(flows: int) -> str:
    return {0: "an example, since no flow was found here", 1: "the flow found here"}.get(
        flows, f"the {flows} flows found here"
    )
