"""What a load balancer is told of a server whose database takes no writes, and that it works again by itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from headrace.server.store import sqlite
from headrace.testing.postgres import Cluster

from .. import clusters
from ..verdicts.house import until
from ..verdicts.server import Server
from .crowd import Crowd

pytestmark = pytest.mark.timeout(180)  # each starts servers: seconds each on a busy machine

RUNS = 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that may be set as nobody else wants it."""
    with clusters.started() as cluster:
        yield cluster


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """The URL of a new database on it."""
    with cluster.database() as url:
        yield url


@contextlib.contextmanager
def serving(home: Path, url: str | None = None) -> Iterator[Server]:
    server = Server(home, database_url=url).start()
    try:
        yield server
    finally:
        server.kill()


def ready(server: Server) -> tuple[int, str]:
    """Return what a load balancer is told."""
    answer = httpx.get(server.url + "/ready", trust_env=False, timeout=30)
    return answer.status_code, answer.json()["message"]


def read(server: Server) -> int:
    return httpx.post(server.url + "/flows/count", trust_env=False, timeout=30).status_code


def write(server: Server, name: str = "etl") -> httpx.Response:
    return httpx.post(server.url + "/flows/", json={"name": name}, trust_env=False, timeout=30)


def set_database(url: str, value: str) -> None:
    """Set the database's default for new sessions, and end those that are."""
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        name = sql.Identifier(connection.info.dbname)
        statement = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
        connection.execute(statement.format(name, sql.SQL(value)))
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(f"SELECT pg_terminate_backend(pid) {others}")


def set_system(url: str, value: str) -> None:
    """Set the whole server's default, which sessions take over that are there already."""
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        connection.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("set_to", [set_database, set_system])
def test_a_database_that_only_reads_is_not_ready_and_comes_back(
    url: str, tmp_path: Path, set_to: Callable[[str, str], None]
) -> None:
    """Writes are answered with 503 meanwhile, reads are served; nothing is lost, and the server is not restarted."""
    with serving(tmp_path / "server", url) as server:
        crowd = Crowd([server.url])
        try:
            crowd.plan(RUNS)
            crowd.until_completed(RUNS // 2)
            set_to(url, "on")
            until(lambda: ready(server)[0] == 503, "it to be not ready")
            assert "default_transaction_read_only" in ready(server)[1]
            refused = write(server, "refused")
            assert (refused.status_code, refused.headers["retry-after"], read(server)) == (503, "1", 200)
            set_to(url, "off")
            until(lambda: ready(server) == (200, "OK"), "it to be ready again")
            assert write(server, "taken").status_code == 201
            crowd.plan(RUNS)
            crowd.until_completed(2 * RUNS)
        finally:
            crowd.close()
        assert ready(server) == (200, "OK")
        assert "Traceback" not in server.told()


def test_a_standby_is_not_ready_until_it_is_promoted(tmp_path: Path) -> None:
    """As after a failover, with the same address: the server finds what it is by itself, both times."""
    with clusters.started() as cluster, serving(tmp_path / "server", cluster.create("failover")) as server:
        assert write(server).status_code == 201
        cluster.stop()
        signal = cluster.folder / "data" / "standby.signal"
        signal.touch()
        owner = signal.parent.stat()
        os.chown(signal, owner.st_uid, owner.st_gid)
        cluster.start()

        until(lambda: "standby" in ready(server)[1], "it to see that it is one")
        assert ready(server)[0] == 503
        assert (write(server, "other").status_code, read(server)) == (503, 200)
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
        until(lambda: ready(server) == (200, "OK"), "it to be ready again")
        assert write(server, "other").status_code == 201


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A home on a file system of its own, of 8 MB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("NOT TESTED ON A FULL DISK: only root may mount the small disk that this test fills")
    home = tmp_path / "mounted"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(home)], check=True)
    try:
        yield home
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_full_disk_under_sqlite_is_not_ready_until_there_is_room(mounted: Path) -> None:
    """Writes are answered with 503, too, and not with a bug's 500."""
    with serving(mounted) as server:
        assert ready(server) == (200, "OK")
        filler = mounted / "filler"
        filler.write_bytes(b"\0" * (shutil.disk_usage(mounted).free - sqlite.LEAST_FREE_BYTES // 2))
        code, why = ready(server)
        assert (code, "disk is full" in why, str(mounted) in why) == (503, True, False)
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * 4096):
                pass
        codes = [201]
        for number in range(2_000):  # a log of writes has room in itself for a while
            codes.append(write(server, f"{number} " + "x" * 8_000).status_code)
            if codes[-3:].count(201) == 0:
                break
        assert codes[-3:] == [503, 503, 503]
        assert "Traceback" not in server.told()
        filler.unlink()
        assert ready(server) == (200, "OK")
        assert write(server, "there is room").status_code == 201


def test_a_folder_that_became_read_only_under_sqlite_is_not_ready(mounted: Path) -> None:
    """As far as can be told without writing: a file that is open may be written all the same."""
    with serving(mounted) as server:
        assert ready(server) == (200, "OK")
        # The same folder once more, above itself: what is open stays so, and paths lead to what cannot be written.
        subprocess.run(["mount", "--bind", str(mounted), str(mounted)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", str(mounted)], check=True)
            code, why = ready(server)
            assert (code, "cannot be written" in why, str(mounted) in why) == (503, True, False)
        finally:
            subprocess.run(["umount", str(mounted)], check=True)
        assert ready(server) == (200, "OK")
