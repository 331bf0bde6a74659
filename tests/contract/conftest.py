"""The API over an empty database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.server.store.database import Database
from tests.server.conftest import database as database
from tests.server.conftest import database_url as database_url
from tests.server.serving import Api, serving

from .real_client import client as client
from .real_client import interpreter as interpreter


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    """A server in this process."""
    with serving(database) as api:
        yield api
