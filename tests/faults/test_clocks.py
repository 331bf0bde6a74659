"""Clocks that are set by an hour while runs go on: on the server, and on the host of the runs."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from headrace.testing.postgres import Cluster

from ..verdicts.crew import Crew
from ..verdicts.house import Json, history_of
from ..verdicts.server import Server
from .trial import Trial, prepare, wait_until

pytestmark = pytest.mark.timeout(300)

HOUR_S = 3600
LEASE_S = 30.0
"""Supervisors say every half of it that their runs live; so the clock is set between two of these signs."""

LOOKED_S = 11.0
"""So long after the server's clock was set, leases have been looked at (whoever lost the loops' lease by the clock takes it
again within seven seconds), and supervisors that have nothing to ship have given no other sign of life."""

PATCH = """
    import os
    import time

    true, true_ns, file = time.time, time.time_ns, os.environ["TEST_CLOCK"]

    def ahead():
        with open(file) as told:
            return int(told.read())

    time.time = lambda: true() + ahead()
    time.time_ns = lambda: true_ns() + ahead() * 1_000_000_000
"""


class Clock:
    """The wall clock of Python processes that are started with :attr:`environ`: it can be set while they run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._file = folder / "ahead"
        self.set(0)
        # Python loads a module of this name before anything else; what counts steadily stays as it is.
        (folder / "sitecustomize.py").write_text(textwrap.dedent(PATCH), encoding="ascii")
        self.environ = {"PYTHONPATH": str(folder), "TEST_CLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """Let it be ahead of the true time by so many seconds."""
        part = self._file.with_suffix(".part")
        part.write_text(str(seconds), encoding="ascii")
        part.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A clock that is right at first."""
    return Clock(tmp_path / "clock")


class Set(Server):
    """A server whose clock can be set."""

    def __init__(self, home: Path, clock: Clock | None, database_url: str | None) -> None:
        super().__init__(home, lease_s=LEASE_S, database_url=database_url)
        self._environ.update(clock.environ if clock is not None else {})


@pytest.fixture
def crews(tmp_path: Path) -> Iterator[Callable[..., Crew]]:
    """Make a server and a worker, either with a clock that can be set; end them afterwards."""
    made: list[Crew] = []

    def make(*, servers: Clock | None = None, hosts: Clock | None = None, url: str | None = None) -> Crew:
        crew = Crew(tmp_path / "host", Set(tmp_path / "server", servers, url).start())
        made.append(crew)
        crew.hire(**(hosts.environ if hosts is not None else {}))
        return crew

    yield make
    for crew in made:
        crew.close()
        crew.server.stop()


def live_through(crew: Crew, clock: Clock, silent: tuple[float, float], **environ: str) -> None:
    """Set the clock forward, and back, under runs that say nothing for so many seconds; look at what is on record."""
    deployment = prepare(crew)
    for seconds, silent_s in zip((HOUR_S, -HOUR_S), silent, strict=True):
        clock.set(0)
        trial = Trial(crew, deployment, pace_s=0.1)
        trial.plan("waits", "waits", "raises")
        trial.start_scripts("waits", "returns", **environ)
        wait_until(partial(_are_silent, trial), "the runs to say nothing", 20.0)
        clock.set(seconds)
        silent_from = time.monotonic()
        wait_until(lambda: time.monotonic() > silent_from + silent_s, "time to pass", 20.0)  # noqa: B023  # called here
        trial.finish(40.0)
        trial.check()
        for run in trial.planned:
            diary, record = trial.diary(run), trial.records[run.number]
            more = _seconds(record) - (diary[-1].at - diary[0].at)  # than from its first line to its last
            assert -0.5 < more < (silent_s + 5.0 if run.end == "waits" else 1.0), record
            # What somebody asked for has the server's time; all else has the run's own, or was before the clock was set.
            order = [name for name in history_of(record) if name != "Cancelling"]
            assert order in (
                ["Scheduled", "Pending", "Running", record["state_name"]],
                ["Pending", "Running", record["state_name"]],
            ), order


def _seconds(record: Json) -> float:
    """Return how long a run took by the record."""
    began, ended = (
        datetime.fromisoformat(record[key].replace("Z", "+00:00")) for key in ("start_time", "end_time")
    )
    return (ended - began).total_seconds()


def _are_silent(trial: Trial) -> bool:
    """Say whether each run waits or has ended, and all that they wrote is shipped: a shipment is a sign of life."""
    at_ends = all(any(line.word == run.end for line in trial.diary(run)) for run in trial.planned)
    if not at_ends:
        return False
    try:
        folders = trial.crew.spool.folders()
        return all(folder.shipped() == folder.journal.stat().st_size for folder in folders)
    except FileNotFoundError:  # it has just been shipped whole, and put away
        return False


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A new database: ``None`` on SQLite, where it is the home folder's file."""
    if request.param == "sqlite":
        yield None
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database() as url:
        yield url


def test_a_servers_clock_is_set(database_url: str | None, clock: Clock, crews: Callable[..., Crew]) -> None:
    """Nobody is presumed lost because an hour seems to have passed; states are in their order.

    On PostgreSQL, too, whose own clock stays right.
    """
    live_through(crews(servers=clock, url=database_url), clock, (LOOKED_S, 2.0))


def test_a_hosts_clock_is_set(clock: Clock, crews: Callable[..., Crew]) -> None:
    """Runs take as long as they took; their states are in their order. (No database is asked for a host's time.)"""
    live_through(crews(hosts=clock), clock, (2.0, 2.0), **clock.environ)
