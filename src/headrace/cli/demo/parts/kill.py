"""Crashed, with evidence: a flow that is killed with SIGKILL in its middle."""

from __future__ import annotations

import time

from ...output import duration
from ..stage import Stage, expect, require, say

TITLE = "Kill a flow in its middle with SIGKILL, which no process can catch"
SCRIPT = "archive_library.py"

_DONE_BEFORE = 10
"""Tasks that the flow may complete before it is killed."""


def play(stage: Stage) -> None:
    """Kill the flow once some of its tasks have completed, and show what is on record of it."""
    script = stage.play(SCRIPT, str(stage.folder / "library.zip"))
    stage.until(
        lambda: script.tasks_completed() >= _DONE_BEFORE or not script.is_alive(), "ten tasks", script
    )
    require(script.is_alive(), f"The flow ended before it could be killed:\n{script.last_output()}")
    script.process.kill()
    killed = time.monotonic()
    script.process.wait()
    run = stage.ended(stage.shown[-1], script)
    after = time.monotonic() - killed
    evidence = expect(run, "CRASHED")
    require(evidence.get("pid") == script.pid, f"Flow run {run['name']} is Crashed, but without evidence.")
    tasks = stage.task_runs(run["id"])
    done = sum(task["state_type"] == "COMPLETED" for task in tasks)
    require(
        done == script.tasks_completed() >= _DONE_BEFORE,
        f"Flow run {run['name']} completed {script.tasks_completed()} task runs; {done} are on record.",
    )
    for task in tasks:
        if task["state_type"] != "COMPLETED":
            expect(task, "CRASHED", "Task run")
    say(f"killed process {script.pid} after {done} of its tasks had completed")
    say(f"{run['state_name']}: {run['state']['message']}")
    say(
        f"on record {duration(after)} after the kill, with the {done} tasks and what was open: {_open(evidence)}"
    )
    say("A run writes down what happens in a file first; a small process beside it saw it die and judged.")


def _open(evidence: dict[str, object]) -> str:
    names = evidence.get("open_tasks")
    return ", ".join(map(str, names)) if isinstance(names, list) and names else "nothing"
