"""Servers and databases that are killed at random instants under runs; `python -m tests.faults` is the long form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.postgres import Cluster
from tests import clusters
from tests.told import NAME

from .storm import Storm


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL that a test may crash: other tests have another one."""
    with clusters.started() as cluster:
        yield cluster


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", [range(start, start + 20) for start in range(0, 100, 20)], ids=str)
def test_a_server_that_is_killed(
    tmp_path: Path, record_property: pytest.RecordProperty, seeds: range
) -> None:
    """A hundred times: each run is in the state it earned; each line and task run is there once; no slot is held."""
    with Storm(tmp_path) as storm:
        storm.blow(seeds)
    record_property(NAME, f"{len(seeds)} seeds, {storm.runs} runs, {dict(storm.blows)}")

    assert storm.runs >= 20
    assert len(storm.blows) == 2


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", [range(start, start + 20) for start in range(0, 40, 20)], ids=str)
def test_a_server_and_its_postgres_that_are_killed_by_turns(
    tmp_path: Path, own_cluster: Cluster, record_property: pytest.RecordProperty, seeds: range
) -> None:
    """The same while PostgreSQL recovers from crashes and ends connections, and the server is killed before it."""
    with Storm(tmp_path, cluster=own_cluster, strikes_server=True) as storm:
        storm.blow(seeds)
    record_property(NAME, f"{len(seeds)} seeds, {storm.runs} runs, {dict(storm.blows)}")

    assert storm.runs >= 20
    assert len(storm.blows) == 4
