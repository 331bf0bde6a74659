"""Runs that go on while the server, or the PostgreSQL behind it, is killed at random instants."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg

from headrace.testing.postgres import Cluster

from ..verdicts.crew import Crew
from ..verdicts.server import Server
from .trial import Trial, prepare

LEASE_S = 120.0
"""Nobody is away as long: whoever is presumed lost is so by mistake."""

OUTSTANDING = 9
"""How many runs are not over at any time: some work, some wait for a slot."""

ENDS = ("returns", "returns", "raises", "returns", "dies", "waits")
SCRIPT_EVERY = 8
GROUP = 10
"""After so many seeds all runs are let come to their ends, and all that is on record is looked at."""

SETTLE_S = 90.0

_BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend' ORDER BY 1"
)


class Storm:
    """A server, a worker and scripts; each seed is one blow at a random instant.

    ``cluster`` holds the server's database; without it that is SQLite. Then it is the cluster that is struck, and the
    server as well if ``strikes_server`` says so; on SQLite always the server. ``way`` returns the URL by which the server
    reaches a database of the cluster, where that is not the direct one. ``say`` is given a line now and then.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cluster: Cluster | None = None,
        strikes_server: bool = False,
        way: Callable[[str], str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.blows: Counter[str] = Counter()
        self.runs = 0
        self._cluster = cluster
        self.database = f"storm_{id(self)}"
        url = cluster.create(self.database) if cluster is not None else None
        url = way(self.database) if way is not None else url
        self._server = Server(folder / "server", lease_s=LEASE_S, database_url=url)
        self._crew = Crew(folder / "host", self._server.start())
        self._say = say
        self._failure: BaseException | None = None
        self._kinds: list[Callable[[random.Random], None]] = []
        if cluster is None or strikes_server:
            self._kinds += [self._kill_server, self._kill_starting_server]
        if cluster is not None:
            self._kinds += [self._end_connections, self._restart_postgres]

    def __enter__(self) -> Storm:
        """Hire a worker."""
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._crew.hire()
            self._deployment = prepare(self._crew)
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End all of it."""
        self.close()

    def close(self) -> None:
        """End all of it."""
        self._crew.close()
        self._server.stop()
        if self._cluster is not None:
            self._cluster.drop(self.database)

    def blow(self, seeds: Sequence[int]) -> None:
        """Give each seed's blow, and assert now and then that nothing has come of them."""
        for start in range(0, len(seeds), GROUP):
            group = seeds[start : start + GROUP]
            trial = Trial(self._crew, self._deployment, steps=30, pace_s=0.05)
            try:
                self._blow(trial, group)
                trial.finish(SETTLE_S)
                trial.check()
            except AssertionError as error:
                raise AssertionError(f"seeds {group[0]} to {group[-1]}: {error}") from error
            self.runs += len(trial.planned)
            self._say(f"seeds {group[0]} to {group[-1]}: {len(trial.planned)} runs, {dict(self.blows)}")

    def _blow(self, trial: Trial, seeds: Sequence[int]) -> None:
        enough = threading.Event()
        feeder = threading.Thread(target=self._feed, args=(trial, enough), name="feeder")
        feeder.start()
        try:
            for seed in seeds:
                rng = random.Random(seed)
                time.sleep(rng.uniform(0.05, 1.2))  # the random instant
                self._kinds[rng.randrange(len(self._kinds))](rng)
                if self._failure is not None:
                    break
        finally:
            enough.set()
            feeder.join()
        if self._failure is not None:
            raise self._failure

    def _feed(self, trial: Trial, enough: threading.Event) -> None:
        """Keep so many runs under way, whatever the server does meanwhile."""
        try:
            while not enough.is_set():
                if trial.look() < OUTSTANDING:
                    number = len(trial.planned)
                    end = ENDS[number % len(ENDS)]
                    if number % SCRIPT_EVERY == 0:
                        trial.start_scripts("dies" if end == "dies" else "returns")
                    else:
                        trial.plan(end)
                enough.wait(0.02)
        except BaseException as error:  # the storm fails by it, in its own thread
            self._failure = error

    # -- blows

    def _kill_server(self, _: random.Random) -> None:
        self._server.kill()
        self.blows["server killed"] += 1
        self._server.start()

    def _kill_starting_server(self, rng: random.Random) -> None:
        """Kill it, and once more before it is up."""
        self._server.kill()
        starting = threading.Thread(target=self._start_in_vain, name="starting")
        starting.start()
        time.sleep(rng.uniform(0.05, 0.8))  # the random instant
        self._server.kill()
        starting.join()
        self.blows["server killed while it starts"] += 1
        self._server.start()

    def _start_in_vain(self) -> None:
        with contextlib.suppress(AssertionError):
            self._server.start()

    def _end_connections(self, rng: random.Random) -> None:
        """End some of the server's connections by the database."""
        assert self._cluster is not None
        for _ in range(5):
            with psycopg.connect(self._cluster.url(), autocommit=True) as connection:
                found = [pid for (pid,) in connection.execute(_BACKENDS, [self.database])]
                for pid in rng.sample(found, rng.randint(1, len(found)) if found else 0):
                    connection.execute("SELECT pg_terminate_backend(%s)", [pid])
                    self.blows["connection ended"] += 1
            time.sleep(rng.uniform(0.0, 0.2))  # the random instant

    def _restart_postgres(self, _: random.Random) -> None:
        assert self._cluster is not None
        self._cluster.restart(immediate=True)
        self.blows["PostgreSQL crashed"] += 1
