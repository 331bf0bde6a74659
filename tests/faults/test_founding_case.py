"""The founding case at full size, with real processes and without; ``python -m tests.faults.founding_case`` by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.postgres import Cluster
from tests import clusters
from tests.told import NAME

from .founding_case import FULL, FULL_PROTOCOL, LOUD, Report, by_processes, by_protocol
from .protocol import Life


@pytest.fixture(scope="module")
def loud() -> Iterator[Cluster]:
    """A PostgreSQL whose log tells of deadlocks and of waits."""
    with clusters.started(lambda: Cluster(options=LOUD)) as cluster:
        yield cluster


@pytest.mark.timeout(700)  # a minute; ten times as long on a machine that has much else to do
def test_seven_workers_two_queues_two_servers(
    loud: Cluster, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Real processes: 500 quick runs and 20 long ones; no deadlock, none twice, at most 4, nobody starved."""
    report = by_processes(loud, tmp_path, FULL._replace(within_s=600.0))

    record_property(NAME, report.figures())
    assert report.figures()["deadlocks"] == 0
    assert report.figures()["runs"] == 520


@pytest.mark.timeout(1900)  # two minutes; it takes all of a server's time, and others want some
def test_fifty_workers_and_ten_thousand_runs(
    loud: Cluster, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """The same by 50 workers that only claim and ship: 10,000 quick runs and 20 long ones."""
    report = by_protocol(loud, tmp_path, FULL_PROTOCOL._replace(within_s=1800.0))
    record_property(NAME, report.figures())

    assert report.figures()["deadlocks"] == 0
    assert report.figures()["runs"] == 10_020


def _report(*lives: Life, log: str = "", held: int = 0) -> Report:
    return Report(1.0, list(lives), {"first": held, "second": 0}, log)


@pytest.mark.parametrize(
    "broken",
    [
        _report(Life("a", "first", 0, 1), Life("b", "second", 0, 1), log="ERROR:  deadlock detected"),
        _report(Life("a", "first", 0, 1), Life("a", "first", 2, 3), Life("b", "second", 0, 1)),
        _report(Life("a", "first", 0, 1), Life("b", "second", 0, 1), held=1),
        _report(Life("a", "first", 0, 1)),
    ],
    ids=["deadlock", "twice", "held", "forgotten"],
)
def test_the_check_sees_what_is_broken(broken: Report) -> None:
    """Each promise by itself."""
    with pytest.raises(AssertionError):
        broken.check({"first": ["a"], "second": ["b"]})


def test_the_check_sees_one_too_many() -> None:
    """Five at once under a limit of four."""
    lives = [Life(str(number), "first", 0, 1) for number in range(5)]
    planned = {"first": [life.run for life in lives], "second": ["b"]}
    with pytest.raises(AssertionError):
        _report(*lives, Life("b", "second", 0, 1)).check(planned)
