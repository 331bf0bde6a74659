"""What every test gets: a home folder of its own, and no setting of the machine it runs on."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from headrace.testing.postgres import Cluster

from . import clusters

pytest_plugins = ("tests.loud", "tests.told")

# A busy machine is slow now and then: a deadline for each example would fail at random. Nothing is explained, as
# that traces each line: CPython 3.11 hung for good in a traced line once.
settings.register_profile(
    "headrace",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
settings.load_profile("headrace")


# Started in the background by a shell, we would ignore Ctrl-C, and so would each process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """Run as many tests at a time as there are cores, virtual ones too: most wait for processes and clocks."""
    return os.cpu_count() or 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show half characters that a test printed by their numbers: reports go from process to process as UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private home folder (``HEADRACE_HOME``), not made yet; processes that a test starts inherit it."""
    for name in list(os.environ):
        if name.startswith(("HEADRACE_", "PREFECT_")) and not name.startswith("HEADRACE_TEST_"):
            monkeypatch.delenv(name)
    path = tmp_path / "home"
    monkeypatch.setenv("HEADRACE_HOME", str(path))
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL of this session's own; tests that need one are skipped, with the reason, where none can be."""
    with clusters.started() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres_url(postgres: Cluster) -> str:
    """The URL of a database for tests that empty it first and use it one after the other."""
    return postgres.create("headrace")
