"""Homes for journeys: without a server, and before one.

On SQLite alone: what journeys show is how processes bear with each other. What the database has to do with it (pauses,
suspends, what was shipped) is shown on both by the tests of the API and of the verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.verdicts.conftest import shared_server as shared_server
from tests.verdicts.house import House
from tests.verdicts.server import Server


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
    server = Server(tmp_path / "server")
    yield server
    server.kill()
