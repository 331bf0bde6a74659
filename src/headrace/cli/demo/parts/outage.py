"""Completed, and nothing lost: the server is killed and started again under a flow that logs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ....client.connection import Connection
from ....client.where import ADDRESS_FILE
from ....settings import Settings
from ...output import duration
from ..stage import Stage, Unearned, expect, require, say

TITLE = "Kill the server with SIGKILL under a flow that logs, and start it again"
SCRIPT = "watch_machine.py"

_BLOCKS, _READINGS = 40, 25
_LINES = _BLOCKS * _READINGS


class Server(NamedTuple):
    """A server that the demo started."""

    process: subprocess.Popen[bytes]
    url: str
    port: int
    started_in: float
    """Seconds from its start to its first healthy answer."""


def play(stage: Stage) -> None:
    """Kill the server while lines arrive, let the flow go on without it, start it again, and count."""
    first = start_server(stage, port=0)
    script = stage.play(
        SCRIPT,
        str(_BLOCKS),
        str(_READINGS),
        HEADRACE_API_URL=first.url,
        # Should the demo be interrupted, nobody waits for a server that does not come back; the next command
        # on this host ships what is left.
        HEADRACE_SHIP_PATIENCE="60",
    )
    run_id = stage.shown[-1]
    stage.until(lambda: len(stage.messages(run_id)) >= _LINES // 10, "lines to be on record", script)
    first.process.kill()
    first.process.wait()
    before = len(stage.messages(run_id))
    require(script.is_alive(), f"The flow ended before the server could be killed:\n{script.last_output()}")
    done = script.tasks_completed()
    stage.until(
        lambda: script.tasks_completed() >= done + 3 or not script.is_alive(), "the flow to go on", script
    )
    away = script.tasks_completed() - done
    second = start_server(stage, port=first.port)
    run = stage.ended(run_id, script)
    expect(run, "COMPLETED")
    say(f"server {first.process.pid} was killed with {before:,} of {_LINES:,} lines on record")
    say(f"without a server the flow went on: {away} more tasks completed before another one was started")
    say(f"server {second.process.pid} was healthy after {duration(second.started_in)}, and was sent the rest")
    _count(stage, run_id, run["name"])
    say(
        f"{run['state_name']}: all {_LINES:,} lines and all {_BLOCKS} task runs are there, each exactly once."
    )
    second.process.terminate()
    second.process.wait(timeout=30)


def _count(stage: Stage, run_id: str, name: str) -> None:
    """Check that every line and every task run is on record exactly once."""
    expected = {f"reading {number}" for number in range(_LINES)}
    lines = Counter(m.partition(":")[0] for m in stage.messages(run_id) if m.startswith("reading "))
    require(
        set(lines) == expected and max(lines.values()) == 1,
        f"Flow run {name} wrote {_LINES} log lines; {len(expected & set(lines))} of them are on record, "
        f"{sum(count > 1 for count in lines.values())} more than once.",
    )
    tasks = stage.task_runs(run_id)
    for task in tasks:
        expect(task, "COMPLETED", "Task run")
    names = Counter(task["name"] for task in tasks)
    require(
        names == Counter(f"block {number}" for number in range(_BLOCKS)),
        f"Flow run {name} had {_BLOCKS} task runs; on record are {len(tasks)}, {len(names)} of them different.",
    )


def start_server(stage: Stage, *, port: int) -> Server:
    """Start a server on the home folder's database; with port 0 on a free one.

    It has a home folder of its own, so that its address is not taken for the user's server's.
    """
    home = stage.folder / "server"
    home.mkdir(exist_ok=True, mode=0o700)
    begun = time.monotonic()
    process = stage.start(
        [sys.executable, "-m", "headrace.server"],
        stage.folder / "server.out",
        HEADRACE_HOME=str(home),
        HEADRACE_PROFILE="",
        HEADRACE_DATABASE_URL=stage.settings.database_url or _database_of(stage.settings),
        HEADRACE_SERVER_HOST="127.0.0.1",
        HEADRACE_SERVER_PORT=str(port),
        HEADRACE_SERVER_AUTH_STRING="",
    )
    stage.until(lambda: _url_of(home, process.pid) or process.poll() is not None, "the server's address")
    url = _url_of(home, process.pid)
    if url is None:
        said = (stage.folder / "server.out").read_text(encoding="utf-8", errors="replace")
        raise Unearned(f"The server ended at once. It said:\n{said.strip() or '(nothing)'}")
    _ask(stage.settings, url)
    return Server(process, url, int(re.split("[:/]", url)[4]), time.monotonic() - begun)


def _database_of(settings: Settings) -> str:
    from ....server.store.database import read_url  # heavy, and loaded by now: the demo looks at the records

    return read_url(None, settings.home_path).render_as_string()


def _url_of(home: Path, pid: int) -> str | None:
    """Return the URL in the address file that the server ``pid`` wrote."""
    try:
        address = json.loads((home / ADDRESS_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return str(address["url"]) if address.get("pid") == pid else None


def _ask(settings: Settings, url: str) -> None:
    """Ask a server whether it is healthy."""
    connection = Connection(settings, url if url.endswith("/api") else f"{url.rstrip('/')}/api")
    try:
        connection.get("/health")
    finally:
        connection.close()
