"""The demo from its first line to its last: four parts, the table of runs, and what to try next."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import click

from headrace.connect import connect

from ...client import calls
from ...client.calls import Json
from ...errors import HeadraceError
from ...settings import Settings
from ..flow_run import write_run_table
from ..output import duration
from .parts import conflict, kill, outage, packages
from .stage import FLOWS, Stage, Unearned, say


class Part(NamedTuple):
    """A part of the demo."""

    title: str
    script: str
    play: Callable[[Stage], None]


PARTS = tuple(Part(part.TITLE, part.SCRIPT, part.play) for part in (packages, conflict, kill, outage))


def show(settings: Settings) -> bool:
    """Play every part; return whether each run ended in the state it earned."""
    begun = time.monotonic()
    # What the demo starts, it looks at: the home folder, also where another server is configured.
    connection = connect(settings.replace(api_url=""))
    stage = Stage(settings, connection)
    try:
        click.echo(
            f"Four small flows run for real, each in a process of its own. They are plain scripts:\n  {FLOWS}\n"
            f"What happens to them is recorded in {settings.home_path}. No server is needed; part 4 starts its own."
        )
        wrong = [part.script for number, part in enumerate(PARTS, 1) if not _play(stage, number, part)]
        _end(settings, _runs(stage), wrong, time.monotonic() - begun)
    finally:
        stage.close()
        connection.close()
    return not wrong


def _play(stage: Stage, number: int, part: Part) -> bool:
    click.echo(f"\n{number}. {part.title}  [{part.script}]")
    try:
        part.play(stage)
    except (Unearned, HeadraceError) as error:
        say(f"WRONG: {error}")
        return False
    return True


def _runs(stage: Stage) -> list[Json]:
    """Return the demo's flow runs as ``headrace flow-run ls`` lists them."""
    if not stage.shown:
        return []
    return calls.flow_runs(
        stage.connection, {"flow_runs": {"id": {"any_": stage.shown}}}, limit=len(stage.shown)
    )


def _end(settings: Settings, runs: list[Json], wrong: list[str], seconds: float) -> None:
    click.echo("\nThe runs, as `headrace flow-run ls` lists them:\n")
    write_run_table(runs)
    if wrong:
        click.echo(
            f"\n{len(wrong)} of {len(PARTS)} parts went wrong: {', '.join(wrong)}. See above.", err=True
        )
        return
    click.echo(f"\nEvery run is in the state it earned. It took {duration(seconds)}. To look closer:\n")
    if settings.api_url:
        click.echo(
            f"  (HEADRACE_API_URL or your profile names {settings.api_url}; the demo kept to this machine, so put\n"
            "  HEADRACE_API_URL= before each)"
        )
    for command in _next_commands(runs):
        click.echo(f"  {command}")


def _next_commands(runs: list[Json]) -> list[str]:
    """Return the three commands to try next, about the runs that were just made."""
    names = {run["flow_name"]: run["name"] for run in runs}
    commands = {
        f"headrace flow-run inspect {names['archive-library']}": "the killed one: its history and the evidence",
        f"headrace flow-run inspect {names['nightly-sync']}": "the failed one: the whole chain of exceptions",
        f"headrace flow-run logs --tail 20 {names['watch-machine']}": "the one whose server was killed",
    }
    width = max(map(len, commands))
    return [f"{command:<{width}}  # {why}" for command, why in commands.items()]
