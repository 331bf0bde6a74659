"""Processes as the place where runs are started keep what every such place has to keep."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.client.connection import Connection
from headrace.journal.reader import iterate
from headrace.journal.spool import Spool, try_lock
from headrace.model import entries
from headrace.settings import load
from headrace.testing.launchers import Bench, LauncherSuite, Started
from headrace.worker.launchers.process import ProcessLauncher
from tests.verdicts.server import Server

LEASE_S = 5.0
"""Short, for what nobody is left to tell; long enough that twenty starts at once are not presumed lost."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server."""
    started = Server(tmp_path_factory.mktemp("server"), lease_s=LEASE_S).start()
    yield started
    started.stop()


@pytest.fixture
def bench(server: Server, tmp_path: Path) -> Iterator[Bench]:
    """Launchers of processes whose runs speak to it."""
    given = {"HEADRACE_HOME": str(tmp_path), "HEADRACE_API_URL": server.url, "HEADRACE_SHIP_PATIENCE": "20"}
    settings = load(given)  # supervisors that this test leaves behind end soon after its server
    with Connection(settings, server.url) as connection:
        made = Bench(connection, lambda: ProcessLauncher(settings), destroy, tmp_path)
        yield made
        made.close()


def destroy(run: Started) -> None:
    """Kill supervisor and run as when the power goes."""
    told = [entry for _, entry in iterate(run.folder.journal)]
    supervisors = [entry.pid for entry in told if isinstance(entry, entries.Adopted)]
    owners = [entry.pid for entry in told if isinstance(entry, entries.Open)]
    for pid in [*supervisors, *owners]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class TestProcessLauncher(LauncherSuite):
    """Runs as processes of this machine."""

    def test_who_looks_for_a_supervisor_is_not_in_the_way_of_one(self, bench: Bench, tmp_path: Path) -> None:
        """Workers and companions look at every journal of a host: a run whose lock one of them has begins all the same."""
        [order] = bench.orders(bench.deploy("print('begun')"))
        folder = Spool(tmp_path).create(order.claim.journal)
        folder.write_order(order)
        lock = try_lock(folder)
        assert lock is not None
        threading.Timer(0.3, lock.release).start()
        run = Started(bench, order, folder, bench.launcher.start(order, folder))

        assert run.state()[0] == "COMPLETED"
