"""What ``headrace deploy`` asks at a terminal, and what it says instead where nobody can answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.client import calls

from .exits import Misuse
from .session import current

if TYPE_CHECKING:
    from headrace.deployments.project import Entry, Project

_NAME = "default"
"""The name that is proposed."""


def choose(entries: list[Entry], *, asks: bool) -> list[Entry]:
    """Return the entries of a file that a person chooses.

    Raises:
        Misuse: nobody is there to ask.
    """
    names = [f"{each.name or '(no name)'}  {each.entrypoint or ''}".rstrip() for each in entries]
    if not asks:
        raise Misuse(
            "The file has several deployments: say --all, or which by --name. It has: "
            f"{', '.join(each.name or '(no name)' for each in entries)}."
        )
    number = _ask_number("Deployments of the file:", [*names, "all of them"], "Which one?")
    return entries if number == len(entries) else [entries[number]]


def new_entry(found: Project, names: tuple[str, ...], *, asks: bool) -> Entry:
    """Return an entry for a flow of the folder that a person chooses.

    Raises:
        Misuse: nobody is there to ask, or there is no flow.
    """
    from headrace.deployments.project import Entry
    from headrace.sources.finding import find_flows

    flows = [f"{path.as_posix()}:{name}" for path, name in find_flows(found.folder)]
    if not asks:
        there = f" Flows here: {', '.join(flows[:10])}." if flows else ""
        raise Misuse(
            f"Say which flow: headrace deploy FILE.PY:FUNCTION. There is no headrace.yaml to read.{there}"
        )
    if not flows:
        raise Misuse(
            f"There is no flow below {found.folder}. Put @flow on a function, or go to another folder."
        )
    entrypoint = flows[_ask_number("Flows here:", flows, "Which one?")]
    return Entry({"entrypoint": entrypoint, **({"name": names[0]} if names else {})}, found.pull)


def complete(entry: Entry, folder: Path, *, asks: bool) -> Entry:  # noqa: ARG001  # one form for all questions
    """Return an entry with a name and a pool; what is missing is asked for.

    Raises:
        Misuse: nobody is there to ask.
    """
    if not entry.name:
        if not asks:
            raise Misuse(f"Give the deployment of {entry.entrypoint} a name: -n NAME.")
        entry = entry.over({"name": click.prompt("Name of the deployment", default=_NAME)})
    if not entry.work_pool_name:
        entry = entry.over({"work_pool": {"name": _ask_pool(entry, asks)}})
    return entry


def offer_file(entry: Entry, folder: Path) -> None:
    """Ask whether the answers are to be kept in a headrace.yaml, for the next time."""
    import yaml  # here: only who has a file needs its parser

    if click.confirm(
        "Write this into headrace.yaml, so that `headrace deploy` needs no answers?", default=True
    ):
        text = yaml.safe_dump({"deployments": [entry.values]}, sort_keys=False, allow_unicode=True)
        (folder / "headrace.yaml").write_text(text, encoding="utf-8")
        click.echo(f"Wrote {folder / 'headrace.yaml'}.")


def _ask_pool(entry: Entry, asks: bool) -> str:
    pools = calls.work_pools(current().connection, limit=None)
    names: list[str] = [each["name"] for each in pools]
    if not asks:
        there = (
            f"There are: {', '.join(names)}."
            if names
            else "There is none yet: `headrace work-pool create NAME`."
        )
        raise Misuse(f"Say in which work pool the runs of {entry.name} wait: -p POOL. {there}")
    if names:
        return names[0] if len(names) == 1 else names[_ask_number("Work pools:", names, "Which one?")]
    name: str = click.prompt("There is no work pool yet. Name of a new one", default=_NAME)
    connection = current().connection
    template = calls.job_templates(connection).get("process", {})
    calls.create_work_pool(connection, {"name": name, "type": "process", "base_job_template": template})
    click.echo(f"Made work pool {name}.")
    return name


def _ask_number(title: str, choices: list[str], question: str) -> int:
    click.echo(title)
    for number, choice in enumerate(choices, 1):
        click.echo(f"  {number}  {choice}")
    answer: int = click.prompt(question, type=click.IntRange(1, len(choices)), default=1)
    return answer - 1
