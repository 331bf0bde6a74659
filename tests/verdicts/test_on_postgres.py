"""Rows 2, 8, 23, 24 and 31 once more with a server on PostgreSQL, and row 25: PostgreSQL itself goes away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.postgres import Cluster

from .house import House, history_of, state_of, until
from .server import Server
from .test_endings import test_row_02_raises as test_row_02_raises
from .test_endings import test_row_08_sigkill as test_row_08_sigkill
from .test_outages import STEADY, assert_all_there_once, enough
from .test_outages import network as network
from .test_outages import remote as remote
from .test_outages import (
    test_row_23_server_killed_and_started_again as test_row_23_server_killed_and_started_again,
)
from .test_outages import (
    test_row_24_server_down_when_the_run_ends as test_row_24_server_down_when_the_run_ends,
)
from .test_outages import test_row_31_network_cut_for_two_leases as test_row_31_network_cut_for_two_leases

# The fixtures here stand before those of the same names in conftest.py: the rows themselves do not know.


@pytest.fixture
def own_server(postgres: Cluster, tmp_path: Path) -> Iterator[Server]:
    """A server for one test, which may kill it; not started yet."""
    with postgres.database() as url:
        server = Server(tmp_path / "server", database_url=url)
        yield server
        server.kill()


@pytest.fixture(scope="module")
def shared_server(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all rows that leave it alone."""
    with postgres.database() as url:
        server = Server(tmp_path_factory.mktemp("server"), database_url=url).start()
        yield server
        server.stop()


@pytest.fixture(scope="module")
def watchful_server(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with a lease of two seconds."""
    with postgres.database() as url:
        server = Server(tmp_path_factory.mktemp("watchful"), lease_s=2.0, database_url=url).start()
        yield server
        server.stop()


@pytest.fixture
def house(shared_server: Server, tmp_path: Path) -> Iterator[House]:
    """A home folder whose scripts ship to a real server."""
    made = House(tmp_path, shared_server.url)
    yield made
    made.close()


def test_row_25_postgresql_restarted(tmp_path: Path, own_server: Server, postgres: Cluster) -> None:
    """A database that is restarted, and even SIGKILLed, under a run loses nothing and doubles nothing."""
    house = House(tmp_path, own_server.start().url)
    script = house.start(STEADY, str(enough(house)))
    try:
        until(lambda: house.flow_run(script.root()), "the run on record", told=script.told)
        for end in (postgres.stop, postgres.kill):
            known = len(house.logs(script.root()))
            end()
            seen = len(script.lines())
            until(
                lambda before=seen: len(script.lines()) > before + 100, "the run to go on", told=script.told
            )
            postgres.start()
            until(
                lambda before=known: len(house.logs(script.root())) > before + 20,
                "more lines on record",
                within=5.0,
                told=own_server.told,
            )
        enough(house).touch()
        run = house.end_of(script)

        assert state_of(run) == ("COMPLETED", "Completed")
        assert history_of(run) == ["Pending", "Running", "Completed"]
        assert_all_there_once(house, script)
        house.assert_never_crashed()
        assert "Traceback" not in (own_server.home / "server.log").read_text()
    finally:
        postgres.start()
        house.close()
