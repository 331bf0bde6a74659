"""Failed, on three levels: another server answers 409, and a custom error wraps it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ....client import calls
from ....client.calls import Json
from ..stage import Stage, expect, require, say, state_line

TITLE = "Ask a server for something that it refuses: a flow, in it an async flow, in it an async task"
SCRIPT = "support_thread.py"


def play(stage: Stage) -> None:
    """Run the three levels against a server that answers 409, and show that each is Failed with the cause."""
    with refusing_server() as url:
        script = stage.play(SCRIPT, url)
        outer = stage.ended(stage.shown[-1], script)
    inner = _child(stage, outer)
    tasks = stage.task_runs(inner["id"])
    require(len(tasks) == 1, f"Flow run {inner['name']} had one task run; {len(tasks)} are on record.")
    for run, kind in ((outer, "flow run"), (inner, "flow run"), (tasks[0], "task run")):
        cause = _root_cause(expect(run, "FAILED", kind.capitalize()))
        require("409" in cause, f"{kind.capitalize()} {run['name']} does not name the 409, but {cause!r}.")
        say(state_line(run, kind))
    say(f"root cause: {cause}")
    say("Failed, not Crashed: each level wrote its own end down, with the whole chain of exceptions.")


def _child(stage: Stage, outer: Json) -> Json:
    """Return the subflow's run."""
    tasks = [task["id"] for task in stage.task_runs(outer["id"])]
    found = calls.flow_runs(stage.connection, {"flow_runs": {"parent_task_run_id": {"any_": tasks}}}, limit=1)
    require(bool(found), f"Flow run {outer['name']} has no subflow run on record.")
    stage.shown.append(found[0]["id"])
    return calls.flow_run(stage.connection, found[0]["id"])


def _root_cause(evidence: Json) -> str:
    cause = (evidence.get("exception") or {}).get("root_cause") or {}
    return f"{cause.get('type')}: {str(cause.get('message')).splitlines()[0]}"


class Refusing(BaseHTTPRequestHandler):
    """Answers every POST as a busy server does."""

    def do_POST(self) -> None:
        """Take the whole request and refuse it."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"message": "a sync of this connection is running already"}).encode()
        self.send_response(409)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing; the demo tells what it needs to."""


@contextlib.contextmanager
def refusing_server() -> Iterator[str]:
    """Serve 409 on a free port of this host; give its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
