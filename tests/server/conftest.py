"""Databases for tests: SQLite in a file always, PostgreSQL too when ``HEADRACE_TEST_POSTGRES_URL`` names one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.server.store.database import Database

from .databases import URLS, emptied


@pytest.fixture(params=URLS)
def database(request: pytest.FixtureRequest, home: Path) -> Iterator[Database]:
    """An empty database with the tables of today."""
    with emptied(request.param, home) as database:
        yield database
