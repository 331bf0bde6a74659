"""Where the rows are tested: without a server, and before a real one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.postgres import Cluster

from .crew import Crew, at_work
from .house import House
from .server import Server

DATABASE_URL = os.environ.get("HEADRACE_TEST_DATABASE_URL")
"""Another database than SQLite for the servers of these tests."""


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all rows that leave it alone."""
    server = Server(tmp_path_factory.mktemp("server"), database_url=DATABASE_URL).start()
    yield server
    server.stop()


@pytest.fixture(params=["embedded", "server"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A home folder without a server, and one whose scripts ship to a real server."""
    url = request.getfixturevalue("shared_server").url if request.param == "server" else None
    made = House(tmp_path, url)
    yield made
    made.close()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[House]:
    """A home folder without a server."""
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server for one test, which may kill it; not started yet."""
    server = Server(tmp_path / "server", database_url=DATABASE_URL)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def watchful_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with a lease of two seconds."""
    server = Server(tmp_path_factory.mktemp("watchful"), lease_s=2.0, database_url=DATABASE_URL).start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A new database for each module, on SQLite (``None``: the home folder's file) and on PostgreSQL."""
    if request.param == "sqlite":
        yield None
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database() as url:
        yield url


@pytest.fixture(scope="module")
def crew_of_module(tmp_path_factory: pytest.TempPathFactory, database_url: str | None) -> Iterator[Crew]:
    """A server and a worker for all rows of a module that leave them alone."""
    with at_work(tmp_path_factory.mktemp("crew"), database_url=database_url) as crew:
        yield crew


@pytest.fixture
def crew(crew_of_module: Crew) -> Iterator[Crew]:
    """The module's server and worker; what is left of a test's runs is ended after it."""
    yield crew_of_module
    crew_of_module.settle()


@pytest.fixture
def new_database_url(request: pytest.FixtureRequest, database_url: str | None) -> Iterator[str | None]:
    """A database for one test, on the same kinds as ``database_url``."""
    if database_url is None:
        yield None
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database() as url:
        yield url


@pytest.fixture
def own_crew(tmp_path: Path, new_database_url: str | None) -> Iterator[Crew]:
    """A server and a worker for one test, which may kill and restart them."""
    with at_work(tmp_path / "crew", database_url=new_database_url) as crew:
        yield crew
