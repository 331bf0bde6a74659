"""The founding case: many workers on two queues with a limit of 4 each, two servers, one PostgreSQL.

``python -m tests.faults.founding_case`` runs it at full size: 7 worker processes (4 and 3), 500 quick runs and 20 long
ones. ``--protocol`` does the same with 50 workers without processes and 10,000 runs. Figures are printed; what is
promised is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from headrace.testing.postgres import Cluster
from tests.verdicts.crew import POOL as CREWS_POOL
from tests.verdicts.crew import Crew
from tests.verdicts.server import Server

from .protocol import Life, Office, Worker, most_at_once, wait_until

LIMIT = 4
QUEUES = ("first", "second")
LOUD = {"deadlock_timeout": "100ms", "log_lock_waits": "on"}
"""PostgreSQL's log names every deadlock, and every wait that is longer than this."""

_LEASE_S = 600.0  # attempts without a process must not be presumed lost

FLOW = """
    import os
    import time
    from headrace import flow, runtime

    def tell(path, queue, word):
        line = f"{runtime.flow_run.id} {queue} {word} {time.monotonic()}\\n"
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, line.encode())
        os.close(handle)

    @flow
    def main(path: str, queue: str, seconds: float = 0.0):
        tell(path, queue, "begins")
        time.sleep(seconds)
        tell(path, queue, "ends")
"""


class Size(NamedTuple):
    """How much of it."""

    workers: tuple[int, int]
    """Of each queue."""
    quick: int
    long: int
    long_s: float
    within_s: float


FULL = Size((4, 3), 500, 20, 10.0, 1800.0)
FULL_PROTOCOL = Size((25, 25), 10_000, 20, 5.0, 3600.0)


class Report(NamedTuple):
    """What was seen."""

    seconds: float
    lives: list[Life]
    held: dict[str, int]
    """Slots that were held at the end."""
    log: str
    """PostgreSQL's."""

    def figures(self) -> dict[str, Any]:
        """Return what is worth telling."""
        return {
            "runs": len(self.lives),
            "seconds": round(self.seconds, 1),
            "runs a second": round(len(self.lives) / self.seconds, 1),
            "most at once": {queue: most_at_once(self.of(queue)) for queue in QUEUES},
            "deadlocks": self.log.count("deadlock detected"),
            "waits for a lock over 100 ms": self.log.count("still waiting for"),
            "slots held at the end": self.held,
        }

    def of(self, queue: str) -> list[Life]:
        """Return the attempts of a queue."""
        return [life for life in self.lives if life.queue == queue]

    def check(self, planned: dict[str, list[str]], limit: int = LIMIT) -> None:
        """Assert what is promised."""
        assert self.log.count("deadlock detected") == 0, self.log[-3000:]
        started = Counter(life.run for life in self.lives)
        assert started == Counter(
            run for runs in planned.values() for run in runs
        )  # each once, none forgotten
        for queue in QUEUES:
            assert 1 <= most_at_once(self.of(queue)) <= limit
        assert set(self.held.values()) == {0}
        self._check_fairness()

    def _check_fairness(self) -> None:
        """No queue starves: while both have work, each has at least a quarter of what ends."""
        first = max(min(life.began for life in self.of(queue)) for queue in QUEUES)
        last = min(max(life.ended for life in self.of(queue)) for queue in QUEUES)
        both = [life for life in self.lives if first <= life.began and life.ended <= last]
        for queue in QUEUES:
            assert len([life for life in both if life.queue == queue]) >= len(both) / 4


@contextlib.contextmanager
def loud_cluster() -> Iterator[Cluster]:
    """Give a PostgreSQL whose log tells of deadlocks and of waits."""
    with Cluster(options=LOUD) as cluster:
        yield cluster


@contextlib.contextmanager
def two_servers(folder: Path, database_url: str) -> Iterator[list[Server]]:
    """Give two servers on one database."""
    servers = [Server(folder / name, lease_s=_LEASE_S, database_url=database_url) for name in ("one", "two")]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


def by_protocol(cluster: Cluster, folder: Path, size: Size) -> Report:
    """Carry it out with workers without processes, and check it."""
    with contextlib.ExitStack() as closing:
        servers = closing.enter_context(two_servers(folder, closing.enter_context(cluster.database())))
        urls = [server.url for server in servers]
        office, enough = (
            closing.enter_context(contextlib.closing(Office(urls, QUEUES, LIMIT))),
            threading.Event(),
        )
        workers = [Worker(number, queue, urls, enough) for number, queue in enumerate(_queues_of(size))]
        planned = {queue: office.plan(queue, _seconds(size, number)) for number, queue in enumerate(QUEUES)}
        begun = time.monotonic()
        for worker in workers:
            worker.start()
        wanted = sum(map(len, planned.values()))
        wait_until(lambda: office.completed() == wanted, workers, within=size.within_s, told=servers[0].told)
        seconds = time.monotonic() - begun
        enough.set()
        for worker in workers:
            worker.join(60)
            assert worker.failure is None, worker.failure
        lives = [life for worker in workers for life in worker.lives]
        report = Report(seconds, lives, office.held(), (cluster.folder / "log").read_text(errors="replace"))
        for server in servers:
            assert "Traceback" not in server.told(), server.told()
    report.check(planned)
    return report


def by_processes(cluster: Cluster, folder: Path, size: Size) -> Report:
    """Carry it out with real worker processes, and check it by what the flows themselves wrote."""
    with cluster.database() as url, two_servers(folder, url) as servers:
        crew = Crew(folder / "host", servers[0])
        crew.folder.mkdir(parents=True, exist_ok=True)
        try:
            return _worked(crew, servers, size, cluster)
        finally:
            crew.close()


def _worked(crew: Crew, servers: list[Server], size: Size, cluster: Cluster) -> Report:
    with contextlib.closing(Office([servers[0].url], QUEUES, LIMIT, CREWS_POOL)) as office:
        return _watched(crew, servers, size, cluster, office)


def _watched(crew: Crew, servers: list[Server], size: Size, cluster: Cluster, office: Office) -> Report:
    told = crew.folder / "told"
    for number, queue in enumerate(_queues_of(size)):
        crew.hire("-q", queue, name=f"w{number}", HEADRACE_API_URL=servers[number % 2].url)
    deployments = {queue: crew.deploy(FLOW, fields={"work_queue_name": queue}) for queue in QUEUES}
    planned: dict[str, list[str]] = {queue: [] for queue in QUEUES}
    begun = time.monotonic()
    # In turn, and to workers that are all there: else one queue is over before the other has begun.
    for lives in zip_longest(*(_seconds(size, number) for number, _ in enumerate(QUEUES))):
        for queue, seconds in zip(QUEUES, lives, strict=True):
            if seconds is not None:
                given = {"path": str(told), "queue": queue, "seconds": seconds}
                path = f"/deployments/{deployments[queue].id}/create_flow_run"
                planned[queue].append(crew.post(path, {"parameters": given})["id"])
    wanted = sum(map(len, planned.values()))
    wait_until(lambda: office.completed() == wanted, [], within=size.within_s, told=crew.told)
    log = (cluster.folder / "log").read_text(errors="replace")
    report = Report(time.monotonic() - begun, _lives(told), office.held(), log)
    report.check(planned)
    return report


def _queues_of(size: Size) -> list[str]:
    """Return the queue of each worker."""
    return [queue for queue, number in zip(QUEUES, size.workers, strict=True) for _ in range(number)]


def _seconds(size: Size, queue: int) -> list[float]:
    """Return how long the runs of a queue live: half of all, the long ones spread among the quick."""
    long, quick = size.long // 2 + size.long % 2 * queue, size.quick // 2 + size.quick % 2 * queue
    step = max(1, quick // max(1, long))
    lives = [0.0] * quick
    for number in range(long):
        lives.insert(number * step, size.long_s)
    return lives


def _lives(told: Path) -> list[Life]:
    """Return when runs lived, by what they wrote; one that began twice is there twice."""
    begun: list[tuple[str, str, float]] = []
    ended: dict[str, float] = {}
    for line in told.read_text().splitlines():
        run, queue, word, at = line.split()
        if word == "begins":
            begun.append((run, queue, float(at)))
        else:
            ended[run] = float(at)
    return [Life(run, queue, at, ended[run]) for run, queue, at in begun]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.founding_case", description=__doc__)
    parser.add_argument("--protocol", action="store_true", help="50 workers without processes, 10,000 runs")
    parser.add_argument("--quick", type=int, help="how many quick runs")
    options = parser.parse_args(arguments)
    size = FULL_PROTOCOL if options.protocol else FULL
    if options.quick is not None:
        size = size._replace(quick=options.quick)
    for name in [name for name in os.environ if name.startswith("HEADRACE_") and "TEST" not in name]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="headrace-founding-") as folder, loud_cluster() as cluster:
        work = by_protocol if options.protocol else by_processes
        print(json.dumps(work(cluster, Path(folder), size).figures(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
