"""Databases for tests: each runs on SQLite in a file and on a PostgreSQL of the session's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.server.store.database import Database

from .databases import emptied, untrue_tallies
from .lock_record import recording


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """What the setting ``database_url`` says: nothing for the home folder's SQLite file."""
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""


@pytest.fixture
def database(database_url: str, home: Path) -> Iterator[Database]:
    """An empty database with the tables of today; whatever a test did to it, the tallies are true afterwards."""
    with emptied(database_url, home) as database:
        yield database
        assert untrue_tallies(database) == []


@pytest.fixture(scope="session")
def kept(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database for all examples of a property, each of which clears it first: to open one takes far longer."""
    with emptied(database_url, tmp_path_factory.mktemp("kept"), direct=True) as database:
        yield database


@pytest.fixture(scope="session")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Another one, on SQLite: what both hold is compared, whichever kind the first one is."""
    with emptied("", tmp_path_factory.mktemp("beside"), direct=True) as database:
        yield database


@pytest.fixture(autouse=True)
def lock_order(request: pytest.FixtureRequest) -> Iterator[None]:
    """With ``HEADRACE_TEST_LOCKS`` set, let every test on PostgreSQL keep the order of locks, too."""
    if "HEADRACE_TEST_LOCKS" not in os.environ or "database" not in request.fixturenames:
        yield
        return
    database: Database = request.getfixturevalue("database")
    if database.url.get_backend_name() == "sqlite":
        yield
        return
    with recording(database) as record:
        yield
    assert record.violations() == []
