"""A way to the server on which requests are lost, late, doubled or refused: the runs at its other end do not mind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.testing.postgres import Cluster

from ..verdicts.crew import Crew, Deployment
from ..verdicts.server import Server
from .proxy import Fault, Proxy
from .trial import Trial, prepare

pytestmark = pytest.mark.timeout(180)

LEASE_S = 60.0
"""No fault here lasts as long: whoever is presumed lost is so by mistake."""


GATEWAYS = (Fault.BAD_GATEWAY, Fault.UNAVAILABLE, Fault.GATEWAY_TIMEOUT)


class Way(NamedTuple):
    """A worker and scripts, the server, and what lies between."""

    proxy: Proxy
    crew: Crew
    deployment: Deployment


@contextlib.contextmanager
def a_way(folder: Path, *, seed: int, database_url: str | None = None) -> Iterator[Way]:
    """Give a server, a proxy before it, and a worker that knows the proxy only."""
    server = Server(folder / "server", lease_s=LEASE_S, database_url=database_url).start()
    proxy = Proxy(server.port, seed=seed)
    crew = Crew(folder / "host", server, url=proxy.url)
    try:
        crew.hire()
        yield Way(proxy, crew, prepare(crew))
    finally:
        proxy.switch()
        crew.close()
        proxy.close()
        server.stop()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """A way to a server on either database: on PostgreSQL what comes twice, or in part, meets others side by side."""
    with contextlib.ExitStack() as closing:
        url = None
        if request.param == "postgres":
            cluster: Cluster = request.getfixturevalue("postgres")
            url = closing.enter_context(cluster.database())
        folder = tmp_path_factory.mktemp("way")
        yield closing.enter_context(a_way(folder, seed=5 if url else 4, database_url=url))


WORKERS_ENDS = ("returns", "raises", "dies", "waits", "returns", "returns", "returns")
SCRIPTS_ENDS = ("returns", "dies")


def travel(
    way: Way,
    shares: Mapping[Fault, float],
    *,
    runs: Sequence[str] = WORKERS_ENDS,
    scripts: Sequence[str] = SCRIPTS_ENDS,
    steps: int = 24,
) -> None:
    """Let runs and scripts live while such shares of requests meet faults; look at what the server has then."""
    before = way.proxy.counts.copy()
    trial = Trial(way.crew, way.deployment, steps=steps)
    way.proxy.switch(shares)
    try:
        trial.plan(*runs)
        trial.start_scripts(*scripts)
        trial.finish(90.0)
    finally:
        way.proxy.switch()
    trial.check()
    met = way.proxy.counts - before
    assert set(met) >= set(shares), "a fault that did not happen proves nothing"
    assert sum(met.values()) >= 5, "too few requests met a fault to prove anything"


@pytest.mark.parametrize(
    "shares",
    [
        pytest.param({Fault.DELAY: 0.7}, id="delay"),
        pytest.param({Fault.CUT: 0.4}, id="cut"),
        pytest.param({Fault.HALF_CLOSE: 0.4}, id="half-close"),
        pytest.param(dict.fromkeys(GATEWAYS, 0.15), id="502-503-504"),
        pytest.param({Fault.TOO_MANY: 0.4}, id="429"),
        pytest.param({Fault.SWALLOW: 0.4}, id="swallow"),
    ],
)
def test_a_way_with_a_fault(way: Way, shares: Mapping[Fault, float]) -> None:
    """Each run is in the state it earned; each line and task run is there once; no slot is held, no journal left."""
    travel(way, shares)


on_sqlite = pytest.mark.parametrize("way", ["sqlite"], indirect=True)
"""What is slow on its way is so whatever the database is."""


@on_sqlite
def test_a_way_of_a_thousand_bytes_a_second(way: Way) -> None:
    """Journals and polls trickle, and arrive whole."""
    way.proxy.bytes_per_s = 1000
    travel(way, {Fault.THROTTLE: 1.0}, runs=(), scripts=("returns", "raises", "dies"))


@on_sqlite
def test_a_way_of_four_thousand_bytes_a_second(way: Way) -> None:
    """Claims trickle too. (Who needs more than five seconds for the answer to a claim is taken to be away.)"""
    way.proxy.bytes_per_s = 4000
    travel(way, {Fault.THROTTLE: 1.0}, scripts=())


def test_a_way_with_all_faults_at_once(way: Way) -> None:
    """Half of all requests meet some fault."""
    faults = [fault for fault in Fault if fault is not Fault.THROTTLE]
    runs = ["returns", "raises", "dies", "waits"] * 3
    travel(way, dict.fromkeys(faults, 0.5 / len(faults)), runs=runs, scripts=["returns", "raises"])
