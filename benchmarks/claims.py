"""How many runs a second eight workers claim, from a queue without a limit and from one with a limit, on each database.

Workers are threads without processes behind them: what is measured is the server, over real HTTP. Under a limit it is
measured twice: claims alone, with room for all of them, and with few slots, where each run must end, by its journal,
before another can be claimed.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from headrace.testing.postgres import Cluster
from tests.faults.protocol import POOL, Office, Wire, confirmed, journal_of
from tests.verdicts.server import Server

from .measure import Measurement, Row, Samples, private_home
from .side import Side

WORKERS, AT_ONCE = 8, 20
_REPETITIONS = 3
_LEASE_S = 600.0  # nobody carries these attempts out


class _Load(NamedTuple):
    """One way to ask."""

    title: str
    limit: int | None
    ends: bool
    """Whether each run is begun and ended by a journal, so that its slot is free again."""
    floor: float | None


_RUNS = 2_000
"""So many that what happens at the end, when most workers wait in vain, is a small part."""

_LOADS = (
    _Load("no limit", None, False, 1_500),
    _Load("a queue with a limit that leaves room", 10_000, False, 500),
    # No floor: four fifths of its time go into what runs that end at once have to tell.
    _Load("a queue with a limit of 100, each run begun and ended", 100, True, None),
)
_TITLES = {
    (
        kind,
        load,
    ): f"claims a second on {kind}, {WORKERS} workers that take up to {AT_ONCE} runs at once, {load.title}"
    for kind in ("SQLite", "PostgreSQL")
    for load in _LOADS
}
ROWS = [Row(title, "/s", load.floor) for (_, load), title in _TITLES.items()]

Json = dict[str, Any]


class _Worker(NamedTuple):
    """One worker's identity and what it took."""

    id: str
    wire: Wire
    taken: list[Json]


def take(side: Side) -> Samples:  # noqa: ARG001  # there is one side only
    """Claim thousands of runs, again and again from one growing database."""
    values: Samples = {}
    for kind in ("SQLite", "PostgreSQL"):
        with _server(kind) as api:
            for load in _LOADS:
                rates = [
                    _rate(api, f"{_LOADS.index(load)}-{number}", load) for number in range(_REPETITIONS + 1)
                ]
                values[_TITLES[kind, load]] = rates[1:]  # the first warms up
    return values


@contextlib.contextmanager
def _server(kind: str) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        home, url = stack.enter_context(private_home()), None
        if kind == "PostgreSQL":
            url = stack.enter_context(Cluster(durable=True)).create("claims")
        server = Server(home, lease_s=_LEASE_S, database_url=url)
        stack.callback(server.stop)
        yield server.start().url


def _rate(api: str, queue: str, load: _Load) -> float:
    """Plan runs in a queue of their own, let all be claimed; return how many a second were."""
    with contextlib.closing(Office([api], [queue], load.limit)) as office:
        planned = office.plan(queue, [0.0] * _RUNS)
    workers = [_Worker(str(uuid.uuid4()), Wire([api]), []) for _ in range(WORKERS)]
    enough = threading.Event()

    def work(worker: _Worker) -> None:
        while not enough.is_set():
            _claim(worker, queue, end=load.ends)
            if sum(len(one.taken) for one in workers) >= _RUNS:
                enough.set()

    seconds = _time(workers, work)
    given = [claim["run"]["id"] for worker in workers for claim in worker.taken]
    if sorted(given) != sorted(planned):
        raise RuntimeError(
            f"{_RUNS} runs were planned, {len(given)} given, {len(set(given))} different ones."
        )
    return _RUNS / seconds


def _time(workers: list[_Worker], work: Callable[[_Worker], None]) -> float:
    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.wire.close()
    return time.perf_counter() - begin


def _claim(worker: _Worker, queue: str, *, end: bool) -> None:
    known = {claim["journal"] for claim in worker.taken}
    body = {
        "worker_id": worker.id,
        "worker_name": f"worker-{worker.id[:4]}",
        "work_queue_names": [queue],
        "limit": AT_ONCE,
        "wait": 0.2,
        "have": [] if end else sorted(known),  # what has ended need not be told
    }
    answer = worker.wire.ask("POST", f"/work_pools/{POOL}/claim", body)
    new = [claim for claim in answer.get("claims", []) if claim["journal"] not in known]
    for claim in confirmed(worker.wire, worker.id, new):
        worker.taken.append(claim)
        if end:
            worker.wire.ask("PUT", f"/journals/{claim['journal']}?offset=0", b"".join(journal_of(claim)))


MEASUREMENT = Measurement(ROWS, take, peer=False)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
