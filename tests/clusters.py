"""A PostgreSQL of a test's own, or the word that it was not tested on one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from headrace.testing.postgres import Cluster, PostgresUnavailable


@contextlib.contextmanager
def started(make: Callable[[], Cluster] = Cluster) -> Iterator[Cluster]:
    """Start a cluster and stop it afterwards; the test is skipped, with the reason, where none can be."""
    try:
        cluster = make().start()
    except PostgresUnavailable as error:
        pytest.skip(f"NOT TESTED ON POSTGRESQL: {error}")
    with contextlib.closing(cluster):
        yield cluster
