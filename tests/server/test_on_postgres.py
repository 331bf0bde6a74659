"""A server as a process on PostgreSQL: its tables are made and brought up to date, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import create_engine

from headrace.errors import ServerUnavailable, SettingError
from headrace.server import process
from headrace.server.store import migrations
from headrace.server.store.database import CONNECTIONS, Database, read_url
from headrace.settings import Settings, load
from headrace.testing.postgres import Cluster

from ..verdicts.house import until
from .serving import serving


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    """The URL of a new database."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def settings(url: str) -> Iterator[Settings]:
    """Settings with that database and a free port; what was started is ended."""
    settings = load().replace(server_port=0, database_url=url)
    yield settings
    process.stop(settings)


def headrace(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end."""
    command = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_server_keeps_its_data_in_postgresql(settings: Settings, home: Path) -> None:
    """Nothing of it in the home folder; a later server finds it again."""
    first = process.start_in_background(settings)
    made = httpx.post(first["url"] + "/flows/", json={"name": "etl"})
    process.stop(settings)
    second = process.start_in_background(settings)

    assert made.status_code == 201
    assert httpx.post(second["url"] + "/flows/count").json() == 1
    assert not (home / "headrace.db").exists()


def test_the_command_line_makes_the_tables_and_reads_them(url: str, home: Path) -> None:
    """Without a server, too: commands work on the same database."""
    said = [
        headrace("server", "database", "upgrade", *options, HEADRACE_DATABASE_URL=url)
        for options in (["--dry-run"], [], [])
    ]
    listed = headrace("flow-run", "ls", "-o", "json", HEADRACE_DATABASE_URL=url)

    assert [each.returncode for each in said] == [0, 0, 0], said
    assert ["would be upgraded" in said[0].stdout, "Upgraded" in said[1].stdout] == [True, True]
    assert "up to date" in said[2].stdout
    assert (listed.returncode, listed.stdout.strip()) == (0, "[]")
    assert not (home / "headrace.db").exists()


def test_a_server_brings_older_tables_up_to_date(settings: Settings, url: str, home: Path) -> None:
    """As its first release made them."""
    engine = create_engine(read_url(url, home))
    with engine.begin() as connection:
        migrations.upgrade(connection, "0001")
    engine.dispose()
    address = process.start_in_background(settings)

    assert httpx.post(address["url"] + "/flows/count").json() == 0
    database = Database(read_url(url, home))
    assert database.is_current()
    database.close()


def test_a_server_that_cannot_open_its_database_says_why(settings: Settings, url: str) -> None:
    """In its log and to whoever started it; there is no traceback."""
    nowhere = settings.replace(database_url=url.replace("/test_", "/nowhere_"))
    with pytest.raises(ServerUnavailable, match=r"nowhere_\d+.*does not exist") as caught:
        process.start_in_background(nowhere)

    assert "Traceback" not in str(caught.value)


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """Let nobody else write flows, or read task runs."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE flows IN SHARE MODE; LOCK TABLE task_runs IN ACCESS EXCLUSIVE MODE")
        yield


@pytest.mark.parametrize("connections", [6, CONNECTIONS])
def test_a_server_opens_so_many_connections_and_one_that_listens(
    settings: Settings, url: str, connections: int
) -> None:
    """However many requests wait at one time; those that find none free wait for one, and are answered."""
    settings = settings.replace(database_connections=connections)
    base = process.start_in_background(settings)["url"]
    with ThreadPoolExecutor(40) as pool:
        with locked(url):
            asked = [pool.submit(httpx.post, f"{base}/task_runs/filter", timeout=60) for _ in range(22)]
            asked += [
                pool.submit(httpx.post, f"{base}/flows/", json={"name": f"{number}"}, timeout=60)
                for number in range(14)
            ]
            until(lambda: opened(url, "wait_event_type = 'Lock'") == connections, "all to be in use")
            # The other one is of whoever holds the lock.
            assert opened(url) - 1 == connections + 1
        codes = [each.result().status_code for each in asked]

    assert codes == [200] * 22 + [201] * 14
    assert opened(url) == connections + 1


def opened(url: str, which: str = "true") -> int:
    """Return how many connections to a database there are, but for the one that asks."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(url) as connection:
        (count,) = connection.execute(f"{query} AND {which}").fetchone() or (0,)
    return int(count)


def test_too_few_connections_are_refused(url: str, home: Path) -> None:
    """And it is said how many there must be."""
    with pytest.raises(SettingError, match=r"database_connections is 5.*needs 6 at least"):
        Database.open(url, home, connections=5)
    assert load().database_connections == CONNECTIONS


def test_a_statement_timeout_is_answered_as_what_passes(url: str, home: Path) -> None:
    """Reads at once, writes after three more tries; afterwards all is as before."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET statement_timeout = '200ms'")
    database = Database.open(url, home)
    with serving(database) as api:
        with locked(url):
            answers = [api.post("/task_runs/filter"), api.post("/flows/", json={"name": "etl"})]
        assert [(each.status_code, each.headers["retry-after"]) for each in answers] == [(503, "1")] * 2
        assert database.faults == {"57014": 3}
        assert [api.post("/flows/", json={"name": "etl"}).status_code, api.post("/flows/count").json()] == [
            201,
            1,
        ]
    database.close()


def test_a_missing_driver_is_told_with_what_installs_it(url: str, tmp_path: Path) -> None:
    """psycopg is an extra: whoever stays with SQLite does not need it."""
    (tmp_path / "psycopg.py").write_text("raise ImportError('no pq wrapper available')")
    done = headrace("flow-run", "ls", HEADRACE_DATABASE_URL=url, PYTHONPATH=str(tmp_path))

    assert done.returncode == 2
    assert "no pq wrapper available" in done.stderr
    assert "pip install 'headrace[postgres]'" in done.stderr
    assert "Traceback" not in done.stderr
