"""A server of older code and one of today's share a database that today's has migrated.

``python -m tests.faults.older_code FOLDER`` takes a checkout of the older code, such as ``git worktree add FOLDER TAG``
makes. Workers of the protocol claim from both, under a limit; what is promised is asserted, figures are printed. It is
no part of ``make test``: a checkout need not have its history.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from tests.verdicts.server import Server

from .founding_case import LIMIT, QUEUES, Report, loud_cluster
from .protocol import Office, Worker, wait_until

_RUNS, _WORKERS = 400, 10
"""Of each queue."""
_LEASE_S = 600.0  # attempts without a process must not be presumed lost


def share(older: Path) -> Report:
    """Let both carry out runs; return what was seen."""
    source = older / "src"
    told = [sys.executable, "-c", "import headrace; print(headrace.__file__)"]
    found = subprocess.run(told, env={"PYTHONPATH": str(source)}, check=True, capture_output=True, text=True)
    assert Path(found.stdout.strip()).is_relative_to(source), f"The code is that of {found.stdout}"
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="headrace-older-")))
        cluster = closing.enter_context(loud_cluster())
        url = closing.enter_context(cluster.database())
        servers = [
            Server(folder / "new", lease_s=_LEASE_S, database_url=url),  # first: it makes the tables
            Server(folder / "old", lease_s=_LEASE_S, database_url=url, source=source),
        ]
        for server in servers:
            closing.callback(server.stop)
            server.start()
            httpx.get(server.url + "/ready", trust_env=False).raise_for_status()
        report, planned = _worked([server.url for server in servers], servers[1].told)
        report = report._replace(log=(cluster.folder / "log").read_text(errors="replace"))
        for server in servers:
            assert "Traceback" not in server.told(), server.told()
    report.check(planned)
    return report


def _worked(urls: Sequence[str], told: Callable[[], str]) -> tuple[Report, dict[str, list[str]]]:
    enough = threading.Event()
    workers = [Worker(number, queue, urls, enough) for number, queue in enumerate(QUEUES * _WORKERS)]
    with contextlib.closing(Office(urls, QUEUES, LIMIT)) as office:
        planned = {queue: office.plan(queue, [0.0] * _RUNS) for queue in QUEUES}
        begun = time.monotonic()
        for worker in workers:
            worker.start()
        wait_until(lambda: office.completed() == _RUNS * len(QUEUES), workers, within=300, told=told)
        seconds = time.monotonic() - begun
        enough.set()
        for worker in workers:
            worker.join(60)
            assert worker.failure is None, worker.failure
            assert worker.wire.faults == 0
        lives = [life for worker in workers for life in worker.lives]
        return Report(seconds, lives, office.held(), ""), planned


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.older_code", description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkout of the older code")
    older = parser.parse_args(arguments).folder.resolve()
    if not (older / "src" / "headrace" / "server").is_dir():
        parser.error(f"{older} is no checkout of Headrace: it has no src/headrace/server.")
    for name in [name for name in os.environ if name.startswith("HEADRACE_") and "TEST" not in name]:
        del os.environ[name]
    print(json.dumps(share(older).figures(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
