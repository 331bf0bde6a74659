"""PgBouncer in transaction mode between the server and PostgreSQL: no session lasts longer than a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from headrace.errors import ServerUnavailable, SettingError
from headrace.server.store import postgres
from headrace.server.store.database import Database
from headrace.testing.postgres import Cluster
from tests import clusters

from .packages import need
from .pgbouncer import PgBouncer
from .storm import Storm

pytestmark = pytest.mark.timeout(300)  # installing takes half a minute


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL that these tests may crash."""
    with clusters.started() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def pooler(own_cluster: Cluster) -> Iterator[PgBouncer]:
    """A PgBouncer before it."""
    made = PgBouncer(need("pgbouncer", "pgbouncer"), own_cluster)
    yield made
    made.close()


def test_runs_behind_a_pooler_whose_connections_are_ended(
    own_cluster: Cluster, pooler: PgBouncer, tmp_path: Path
) -> None:
    """Four connections are shared by all of the server's; they are ended and PostgreSQL crashes; nothing is lost."""
    with Storm(tmp_path, cluster=own_cluster, way=pooler.url) as storm:
        storm.blow(range(6))
        shared = pooler.shared(storm.database)

    assert len(storm.blows) == 2
    assert shared["transactions"] > 300
    assert shared["servers"] <= 4


def test_nothing_is_prepared_behind_a_pooler(own_cluster: Cluster, pooler: PgBouncer, tmp_path: Path) -> None:
    """A statement that is asked often is sent whole each time, whichever connection gets it."""
    own_cluster.create("asked_often")
    database = Database.open(pooler.url("asked_often"), tmp_path)
    try:
        for _ in range(20):
            with database.read() as one, database.read() as other:
                for connection in (one, other):
                    found = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements")
                    assert found.scalar_one() == 0
        assert not database.can_listen
    finally:
        database.close()


@pytest.mark.parametrize("command", ["BEGIN", "COMMIT", "ROLLBACK"])
def test_a_connection_out_of_step_is_lost(command: str) -> None:
    """What psycopg says where PgBouncer told that its server is gone between two questions."""
    assert postgres.is_busy(psycopg.InternalError(f"received 2 results from command '{command}'"))
    assert not postgres.is_busy(psycopg.InternalError("another bug"))


def test_a_url_that_does_not_say_so_is_explained(pooler: PgBouncer, tmp_path: Path) -> None:
    """What PgBouncer refuses is told with what to write."""
    with pytest.raises(ServerUnavailable, match=r"\?pooler=transaction"):
        Database.open(pooler.url("asked_often").replace("?pooler=transaction", ""), tmp_path)


def test_a_mode_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """A typing error is no mode."""
    with pytest.raises(SettingError, match="pooler=transaction"):
        Database.open("postgresql://127.0.0.1:9/x?pooler=statement", tmp_path)
