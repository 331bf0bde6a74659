"""Where the rows are tested: without a server, and before a real one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.server.store.database import Database
from headrace.testing.postgres import Cluster

from .crew import Crew, at_work
from .house import House
from .server import Server

DATABASES = ("sqlite", "postgres")
"""Whatever may depend on the database is shown on each."""


@contextlib.contextmanager
def new_database(
    request: pytest.FixtureRequest, kind: str, *, template: str | None = None
) -> Iterator[str | None]:
    """Give the URL of a database of one's own; ``None`` on SQLite, where it is the home folder's file."""
    if kind == "sqlite":
        yield None
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database(template=template) as url:
        yield url


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all rows that leave it alone, on SQLite."""
    server = Server(tmp_path_factory.mktemp("server")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_server_on_postgres(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Another one, on PostgreSQL."""
    with new_database(request, "postgres") as url:
        server = Server(tmp_path_factory.mktemp("server"), database_url=url).start()
        yield server
        server.stop()


@pytest.fixture(params=["embedded", "server", "server on postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A home folder without a server, and those whose scripts ship to a real server on either database."""
    servers = {"server": "shared_server", "server on postgres": "shared_server_on_postgres"}
    server = request.getfixturevalue(servers[request.param]) if request.param in servers else None
    made = House(tmp_path, server.url if server is not None else None)
    yield made
    made.close()


@pytest.fixture(scope="session")
def template(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database with the tables of today: to copy it is faster than to make them."""
    url = postgres.create("template")
    Database.open(url, tmp_path_factory.mktemp("template"), direct=True).close()
    return "template"


@pytest.fixture(params=DATABASES)
def embedded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A home folder without a server; on PostgreSQL its companions and commands write into that themselves."""
    on_postgres = request.param == "postgres"
    template = request.getfixturevalue("template") if on_postgres else None
    with new_database(request, request.param, template=template) as url:
        made = House(tmp_path, database_url=url)
        yield made
        made.close()


@pytest.fixture(params=DATABASES)
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server for one test, which may kill it; not started yet."""
    with new_database(request, request.param) as url:
        server = Server(tmp_path / "server", database_url=url)
        yield server
        server.kill()


@pytest.fixture(scope="module", params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A new database for each module, on SQLite (``None``: the home folder's file) and on PostgreSQL."""
    with new_database(request, request.param) as url:
        yield url


@pytest.fixture(scope="module")
def watchful_server(tmp_path_factory: pytest.TempPathFactory, database_url: str | None) -> Iterator[Server]:
    """One server with a lease of two seconds."""
    server = Server(tmp_path_factory.mktemp("watchful"), lease_s=2.0, database_url=database_url).start()
    yield server
    server.stop()


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
    with new_database(request, "sqlite" if database_url is None else "postgres") as url:
        yield url


@pytest.fixture
def own_crew(tmp_path: Path, new_database_url: str | None) -> Iterator[Crew]:
    """A server and a worker for one test, which may kill and restart them."""
    with at_work(tmp_path / "crew", database_url=new_database_url) as crew:
        yield crew
