"""A database is upgraded under servers of the version before: they go on until its last migrations are asked for."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from headrace.cli.exits import Code
from headrace.errors import ServerUnavailable, SettingError
from headrace.server.store import schema
from headrace.server.store.database import FILE_NAME, Database, read_url
from headrace.server.store.standing import Stamp, Standing
from headrace.testing.postgres import Cluster

from ..verdicts.house import HEADRACE, clean_environment, until
from ..verdicts.server import Server
from .crowd import Crowd
from .release_to_come import ADDS, TAKES, Made, release_to_come

pytestmark = pytest.mark.timeout(180)  # each starts servers: seconds each on a busy machine

TODAY = schema.HEAD
NOW = Stamp(schema.HEAD, schema.SERVES_SINCE)
"""What a database of today says of itself."""

RUNS = 30
"""Before the upgrade, and after it: statements are prepared by then, and met by other tables."""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new database that several processes can open."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / FILE_NAME}"
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database() as url:
        yield url


@pytest.fixture
def server(url: str, tmp_path: Path) -> Iterator[Server]:
    """A server of today on that database."""
    server = Server(tmp_path / "server", database_url=url).start()
    yield server
    server.kill()


def stamp_of(database: Database) -> Stamp | None:
    with database.read() as connection:
        return schema.stamp_of(connection)


def ready(server: Server) -> tuple[int, str]:
    """Return what a load balancer is told."""
    answer = httpx.get(server.url + "/ready", trust_env=False, timeout=30)
    return answer.status_code, answer.json()["message"]


def test_old_code_goes_on_while_the_database_is_upgraded_under_it(
    url: str, server: Server, tmp_path: Path
) -> None:
    """It claims, takes journals in, lists, and is always ready; nobody has to ask twice; and it starts again there."""
    crowd = Crowd([server.url])
    try:
        crowd.plan(RUNS)
        crowd.until_completed(RUNS // 3)
        with Watching(server) as watching, release_to_come(tmp_path / "newer", ADDS) as (newest,):
            database = Database.open(url, tmp_path / "beside")
            assert stamp_of(database) == Stamp(newest, NOW.serves_since)
            crowd.plan(RUNS)
            crowd.until_completed(2 * RUNS)
        assert watching.told == {(200, "/ready"), (200, "/flow_runs/filter"), (200, "/task_runs/count")}
        assert crowd.faults() == 0
        assert_written_by_old_code(database)

        server.stop()
        server.start()
        assert ready(server) == (200, "OK")
        crowd.plan(RUNS)
        crowd.until_completed(3 * RUNS)
        assert stamp_of(database) == Stamp(newest, NOW.serves_since)
        database.close()
        listed = run(tmp_path / "cli", url, str(HEADRACE), "flow-run", "ls", "--limit", "5")
        assert (listed.returncode, listed.stdout.count("Completed")) == (0, 5), listed.stderr
    finally:
        crowd.close()


def assert_written_by_old_code(database: Database) -> None:
    """Its rows have what the new columns have by themselves."""
    with database.read() as connection:
        weights = connection.execute(text("SELECT weight, count(*) FROM journals GROUP BY weight")).all()
        colours = connection.execute(text("SELECT colour, count(*) FROM flow_runs GROUP BY colour")).all()

    assert [tuple(row) for row in weights] == [(7, 2 * RUNS)]
    assert [tuple(row) for row in colours] == [(None, 2 * RUNS)]


def test_after_the_last_migrations_old_code_says_that_it_cannot_go_on(
    url: str, server: Server, tmp_path: Path
) -> None:
    """Its server is not ready and leaves the loops to others; it does not start again, and commands say why, too."""
    until(lambda: loops_held(server), "the loops to turn")
    with release_to_come(tmp_path / "newer", ADDS, TAKES) as (added, newest):
        database = Database(read_url(url, tmp_path))
        database.migrate(finish=False)
        assert stamp_of(database) == Stamp(added, NOW.serves_since)
        assert ready(server) == (200, "OK")
        database.migrate(finish=True)
        assert stamp_of(database) == Stamp(newest, added)
        assert database.standing() is Standing.CURRENT
        database.close()

    code, why = ready(server)
    assert (code, "cannot work on it any more: upgrade it" in why) == (503, True), why
    until(lambda: not loops_held(server), "the loops to be left to others", within=15.0)
    server.stop()
    for command in ((sys.executable, "-m", "headrace.server"), (str(HEADRACE), "flow-run", "ls")):
        done = run(tmp_path / "server", url, *command)
        assert done.returncode in (1, Code.USAGE)
        assert (
            f"takes Headrace of revision {added} or newer; this Headrace is of revision {TODAY}"
            in done.stderr
        )
        assert "Traceback" not in done.stderr


def test_migrations_wait_where_there_may_be_other_servers_and_not_on_sqlite(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that starts does what others can go on beside, works with that, and says what is left."""
    Database.open(url, tmp_path).close()
    with release_to_come(tmp_path / "newer", ADDS, TAKES) as (added, newest):
        with caplog.at_level(logging.WARNING, "headrace.server"):
            database = Database.open(url, tmp_path)
        waits = database.has_others

        assert stamp_of(database) == (Stamp(added, NOW.serves_since) if waits else Stamp(newest, added))
        assert database.standing() is (Standing.WAITING if waits else Standing.CURRENT)
        assert ("headrace server database upgrade --finish" in caplog.text) == waits
        database.migrate(finish=True)
        assert stamp_of(database) == Stamp(newest, added)
        database.close()


def test_what_needs_a_post_migration_first_waits_for_somebody_to_say_so(url: str, tmp_path: Path) -> None:
    """Two releases at once: nothing is changed, under whatever server is still there, until that is said."""
    Database.open(url, tmp_path).close()
    with release_to_come(tmp_path / "newer", TAKES, ADDS) as (_, newest):
        database = Database(read_url(url, tmp_path))
        assert database.standing() is Standing.OLDER
        with pytest.raises(SettingError, match=r"Stop every server of an older version.*upgrade --finish"):
            database.migrate(finish=False)
        assert stamp_of(database) == NOW
        database.migrate(finish=True)
        assert stamp_of(database) == Stamp(newest, TODAY)
        database.close()


def test_a_migration_that_fails_leaves_everything_as_it_was(url: str, tmp_path: Path) -> None:
    """What went before it in the same upgrade too, and what the database says of itself."""
    fails = Made("post", "Fail.", 'op.drop_column("deployments", "nonsense")')
    Database.open(url, tmp_path).close()
    with release_to_come(tmp_path / "newer", ADDS, TAKES, fails):
        database = Database(read_url(url, tmp_path))
        with pytest.raises((DBAPIError, ServerUnavailable), match="nonsense"):
            database.migrate(finish=True)
        assert stamp_of(database) == NOW
        database.close()
    again = Database.open(url, tmp_path)
    assert again.is_current()
    again.close()


class Watching:
    """Asks a server the same again and again, and keeps what it was told."""

    def __init__(self, server: Server) -> None:
        self.told: set[tuple[int, str]] = set()
        self._url = server.url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watching:
        """Begin."""
        self._thread.start()
        until(lambda: len(self.told) >= 3, "the first answers")
        return self

    def __exit__(self, *_: object) -> None:
        """End, after another look at everything."""
        self._over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _watch(self) -> None:
        asked = (("GET", "/ready"), ("POST", "/flow_runs/filter"), ("POST", "/task_runs/count"))
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            while not self._over.wait(0.02):
                for method, path in asked:
                    self.told.add((client.request(method, path).status_code, path))


def loops_held(server: Server) -> bool:
    """Say whether the loops turn at a server."""
    answer = httpx.get(server.url.removesuffix("/api") + "/metrics", timeout=30, trust_env=False)
    samples = [s for family in text_string_to_metric_families(answer.text) for s in family.samples]
    return {s.name: s.value for s in samples if not s.labels}["headrace_loops_held"] == 1


def run(home: Path, url: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run code of today on the database, with no server to ask."""
    environ = clean_environment(home, HEADRACE_DATABASE_URL=url, HEADRACE_SERVER_PORT=0)
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
