"""A server as a process on PostgreSQL: its tables are made and brought up to date, and what it says when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine

from headrace.errors import ServerUnavailable
from headrace.server import process
from headrace.server.store import migrations
from headrace.server.store.database import Database, read_url
from headrace.settings import Settings, load
from headrace.testing.postgres import Cluster


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


def test_a_missing_driver_is_told_with_what_installs_it(url: str, tmp_path: Path) -> None:
    """psycopg is an extra: whoever stays with SQLite does not need it."""
    (tmp_path / "psycopg.py").write_text("raise ImportError('no pq wrapper available')")
    done = headrace("flow-run", "ls", HEADRACE_DATABASE_URL=url, PYTHONPATH=str(tmp_path))

    assert done.returncode == 2
    assert "no pq wrapper available" in done.stderr
    assert "pip install 'headrace[postgres]'" in done.stderr
    assert "Traceback" not in done.stderr
