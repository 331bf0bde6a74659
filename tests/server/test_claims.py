"""Workers that wait write nothing, and claims go on, each once, while PostgreSQL's connections and itself are ended."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from headrace.server.services.loop_lease import RENEW_S
from headrace.server.services.roll_call import RollCall
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


_NOTE = """
CREATE TABLE written (at timestamptz, transaction bigint, place text);
CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
  INSERT INTO written
    VALUES (clock_timestamp(), txid_current(), coalesce(pg_partition_root(TG_RELID), TG_RELID)::regclass::text);
  RETURN NULL;
END $$;
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
      AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'written' LOOP
    EXECUTE format('CREATE TRIGGER note_write AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW '
                   'EXECUTE FUNCTION note_write()', name);
  END LOOP;
END $$;
"""
"""Notes each row that is written, when, and in which transaction."""

_STATISTICS = (
    "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname <> 'written'"
)

STATISTICS_LATE_S = 11.0
"""What a connection did PostgreSQL counts ten seconds after it has become idle, at the latest."""


class Transaction(NamedTuple):
    """What one transaction wrote."""

    at_s: float
    rows: dict[str, int]
    """How many, by table."""


class Written:
    """What is written to a database from now on: row by row, and as PostgreSQL itself counts it."""

    def __init__(self, cluster: Cluster) -> None:
        self._connection = psycopg.connect(cluster.url("claims"), autocommit=True)
        self._connection.execute(_NOTE)
        self._before = self._statistics()

    def transactions(self) -> list[Transaction]:
        """Return what transactions wrote, first to last."""
        rows = self._connection.execute(
            "SELECT transaction, EXTRACT(EPOCH FROM min(at)), place, count(*) FROM written "
            "GROUP BY transaction, place ORDER BY 2"
        ).fetchall()
        found: dict[int, Transaction] = {}
        for transaction, at, place, count in rows:
            found.setdefault(transaction, Transaction(float(at), {})).rows[place] = count
        return list(found.values())

    def counted(self) -> dict[str, int]:
        """Return how many rows of each table were written by PostgreSQL's own statistics, also what was undone."""
        now = self._statistics()
        return {name: now[name] - self._before[name] for name in now if now[name] != self._before[name]}

    def _statistics(self) -> dict[str, int]:
        return dict(self._connection.execute(_STATISTICS).fetchall())

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


POLLED_S = 60.0


@pytest.mark.timeout(400)
def test_polling_writes_nothing(own_cluster: Cluster, servers: list[Server]) -> None:
    """50 workers wait for a minute: what is written is the loops' lease and the roll calls, and no row of a run.

    One server renews the lease, a row every ``RENEW_S``. Each server's roll call is one transaction every
    ``RollCall.every_s``: a row for each worker that asks it, and one for the queue that these ask for.
    """
    office = Office([server.url for server in servers], QUEUES, LIMIT)
    with contextlib.closing(office), polling(servers, 50) as workers:
        _settled(own_cluster)
        with contextlib.closing(Written(own_cluster)) as written:
            began = time.monotonic()
            time.sleep(POLLED_S)  # that nothing happens is what is looked at
            transactions, counted = written.transactions(), written.counted()
            lasted_s = time.monotonic() - began
        assert [worker.wire.faults for worker in workers] == [0] * 50, "each asks its own server all along"

    renewals = [one for one in transactions if one.rows == {"leases": 1}]
    calls = [one for one in transactions if one not in renewals]
    assert [one.rows for one in calls] == [{"work_queues": 1, "workers": 25}] * len(calls)
    assert len(renewals) in _times(lasted_s, RENEW_S)
    often = _times(lasted_s, RollCall.every_s)
    assert 2 * often[0] <= len(calls) <= 2 * often[-1]
    # PostgreSQL's own count, which knows what was undone as well, and may be late by the last seconds.
    assert counted.keys() <= {"leases", "workers", "work_queues"}
    assert abs(counted["leases"] - len(renewals)) <= 2


def _times(lasted_s: float, every_s: float) -> range:
    """Return how often something happens in a time that happens so often; on a busy machine each comes a little late."""
    return range(int(lasted_s / (every_s + 1.0)), int(lasted_s / every_s) + 2)


def _settled(cluster: Cluster) -> None:
    """Wait until every worker is on record, and all of that is in PostgreSQL's statistics."""
    deadline = time.monotonic() + 60
    with psycopg.connect(cluster.url("claims"), autocommit=True) as connection:
        while (row := connection.execute("SELECT count(*) FROM workers").fetchone()) != (50,):
            assert time.monotonic() < deadline, f"{row} workers of 50 are on record."
            time.sleep(0.1)  # between two looks
    time.sleep(STATISTICS_LATE_S)


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
