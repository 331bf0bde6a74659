"""Where the rows are tested: without a server, and before a real one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

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
