"""Workers that wait write nothing, and claims go on, each once, while PostgreSQL's connections and itself are ended."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from headrace.testing.postgres import Cluster
from tests import clusters
from tests.faults.protocol import Office, Worker, most_at_once, wait_until
from tests.verdicts.server import Server

QUEUES = ("first", "second")
LIMIT = 4
LEASE_S = 600.0


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL that this test may restart."""
    with clusters.started() as cluster:
        yield cluster


@pytest.fixture
def servers(own_cluster: Cluster, tmp_path: Path) -> Iterator[list[Server]]:
    """Two servers on one database of it."""
    url = own_cluster.create("claims")
    made = [Server(tmp_path / name, lease_s=LEASE_S, database_url=url) for name in ("one", "two")]
    try:
        for server in made:
            server.start()
        yield made
    finally:
        for server in made:
            server.stop()


_COUNT = """
CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM nextval('writes_' || coalesce(pg_partition_root(TG_RELID), TG_RELID)::regclass); RETURN NULL; END $$;
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
      AND relkind IN ('r', 'p') AND NOT relispartition LOOP
    EXECUTE format('CREATE SEQUENCE writes_%s', name);
    EXECUTE format('CREATE TRIGGER count_write AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW '
                   'EXECUTE FUNCTION count_write()', name);
  END LOOP;
END $$;
"""
"""Counts written rows at once and for good: ``pg_stat_user_tables`` tells what an idle connection did ten seconds late."""


class Written:
    """How many rows of each table were inserted, changed or deleted since it was made."""

    def __init__(self, cluster: Cluster) -> None:
        self._connection = psycopg.connect(cluster.url("claims"), autocommit=True)
        self._connection.execute(_COUNT)

    def rows(self) -> dict[str, int]:
        """Return ``{table: rows}`` of those that were written."""
        told = self._connection.execute("SELECT sequencename, last_value FROM pg_sequences").fetchall()
        return {
            name.removeprefix("writes_"): count
            for name, count in told
            if name.startswith("writes_") and count is not None
        }

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextlib.contextmanager
def polling(servers: list[Server], number: int) -> Iterator[list[Worker]]:
    """Have so many workers ask for runs, half of them for each queue."""
    enough = threading.Event()
    urls = [server.url for server in servers]
    workers = [Worker(at, QUEUES[at % 2], urls, enough) for at in range(number)]
    for worker in workers:
        worker.start()
    try:
        yield workers
    finally:
        enough.set()
        for worker in workers:
            worker.join(60)


@pytest.mark.timeout(180)
def test_polling_writes_nothing(own_cluster: Cluster, servers: list[Server]) -> None:
    """50 workers wait for 8 s: what is written is the loops' lease and the roll call, and no row of a run."""
    office = Office([server.url for server in servers], QUEUES, LIMIT)
    with contextlib.closing(office), polling(servers, 50):
        _settled(own_cluster)
        with contextlib.closing(Written(own_cluster)) as written:
            time.sleep(8.0)  # that nothing happens is what is looked at
            grown = written.rows()

    assert set(grown) <= {"leases", "workers", "work_queues"}
    assert 1 <= grown["leases"] <= 3  # it is renewed every 7 s
    # each server's roll call comes every 25 s: at most one of each within this time
    assert grown.get("workers", 0) <= 50
    assert grown.get("work_queues", 0) <= 2 * len(QUEUES)


def _settled(cluster: Cluster) -> None:
    """Wait until every worker is on record."""
    deadline = time.monotonic() + 60
    with psycopg.connect(cluster.url("claims"), autocommit=True) as connection:
        while (row := connection.execute("SELECT count(*) FROM workers").fetchone()) != (50,):
            assert time.monotonic() < deadline, f"{row} workers of 50 are on record."
            time.sleep(0.1)  # between two looks


def terminate(cluster: Cluster, rng: random.Random) -> None:
    """End some of the servers' connections, whatever they are in the middle of."""
    with psycopg.connect(cluster.url("claims"), autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = 'claims' AND application_name = 'headrace'"
        ).fetchall()
        for (pid,) in rng.sample(rows, min(3, len(rows))):
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])


def restart(cluster: Cluster, _rng: random.Random) -> None:
    """Let it crash and recover."""
    cluster.restart(immediate=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("fault", "pause_s", "times"), [(terminate, 0.1, 20), (restart, 1.0, 3)])
def test_claims_go_on_once_each(
    own_cluster: Cluster,
    servers: list[Server],
    fault: Callable[[Cluster, random.Random], None],
    pause_s: float,
    times: int,
) -> None:
    """120 runs under limits, while connections are cut, or the database crashes: each runs once, none is forgotten."""
    rng = random.Random(40)
    urls = [server.url for server in servers]
    with contextlib.closing(Office(urls, QUEUES, LIMIT)) as office:
        planned = [run for queue in QUEUES for run in office.plan(queue, [0.02] * 60)]
        with polling(servers, 8) as workers:
            for _ in range(times):
                fault(own_cluster, rng)
                time.sleep(pause_s * rng.uniform(0.5, 1.5))  # the faults' own rhythm
            wait_until(
                lambda: office.completed() == len(planned), workers, within=200.0, told=servers[0].told
            )
        assert [worker.failure for worker in workers if worker.failure] == []
        lives = [life for worker in workers for life in worker.lives]

        assert Counter(life.run for life in lives) == Counter(planned)
        for queue in QUEUES:
            assert most_at_once([life for life in lives if life.queue == queue]) <= LIMIT
        assert office.held() == dict.fromkeys(QUEUES, 0)
