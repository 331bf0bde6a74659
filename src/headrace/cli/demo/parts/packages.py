"""Completed: an ETL over what every machine with Python has, its installed packages."""

from __future__ import annotations

from ...explain import took
from ..stage import Stage, expect, require, say

TITLE = "Load the metadata and file sizes of every Python package installed here into SQLite"
SCRIPT = "installed_packages.py"


def play(stage: Stage) -> None:
    """Run the ETL, and show its report as its log has it."""
    database = stage.folder / "packages.db"
    script = stage.play(SCRIPT, str(database))
    run = stage.ended(stage.shown[-1], script)
    expect(run, "COMPLETED")
    tasks = stage.task_runs(run["id"])
    for task in tasks:
        if not task["name"].startswith("extract"):  # one odd package may fail without the others
            expect(task, "COMPLETED", "Task run")
    require(database.exists(), f"Flow run {run['name']} is Completed, but {database} is not there.")
    say("\n".join(stage.messages(run["id"])))
    failed = sum(task["state_type"] != "COMPLETED" for task in tasks)
    say(
        f"{run['state_name']}: {len(tasks)} task runs in {took(run)}"
        + (f", {failed} of them failed; the flow went on without them" if failed else "")
        + f". The tables are in {database}"
    )
