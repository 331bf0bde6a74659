"""PostgreSQL goes away and comes back: what can be done again is, and nothing is done twice."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, select, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError

from headrace.errors import ServerUnavailable
from headrace.server.store.database import Database
from headrace.server.store.tables import flows
from headrace.testing.postgres import Cluster
from tests import clusters

from ..journals import an_id
from .test_database import adding, count


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    """The URL of a new database."""
    with postgres.database() as url:
        yield url


@pytest.fixture(params=[False, True], ids=["pooled", "direct"])
def remote(request: pytest.FixtureRequest, url: str, home: Path) -> Iterator[Database]:
    """An empty database on PostgreSQL, with either writer."""
    database = Database.open(url, home, direct=request.param)
    yield database
    database.close()


def cut(url: str, connection: Connection) -> None:
    """End a connection as a failing network or an operator does."""
    pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])


def test_a_write_whose_connection_is_cut_is_done_again(remote: Database, url: str) -> None:
    """Once: what it had written before was undone with its transaction."""
    calls: list[int] = []

    def work(connection: Connection) -> int:
        calls.append(1)
        adding(1)(connection)
        if len(calls) == 1:
            cut(url, connection)
        return adding(2)(connection)

    assert remote.write(work) == 2
    assert len(calls) == 2
    assert count(remote) == 2


def test_a_commit_that_nobody_answers_is_not_tried_again(remote: Database, url: str) -> None:
    """It may have been done: the caller is told to come again, and knows whether that is harmless."""
    cuts: list[int] = []

    @event.listens_for(remote._engine, "commit")
    def _lose(connection: Connection) -> None:
        if not cuts:
            cuts.append(1)
            cut(url, connection)

    with pytest.raises(DBAPIError) as caught:
        remote.write(adding(1))

    assert remote.is_passing(caught.value)
    assert count(remote) == 0
    assert remote.write(adding(1)) == 1


def test_what_a_fault_ends_is_counted(remote: Database, url: str) -> None:
    """A read that is cut, and a write whose commit is; a write that is done again is counted as that alone."""
    with pytest.raises(DBAPIError), remote.read() as connection:
        connection.execute(select(1))
        cut(url, connection)
        connection.execute(select(1))
    cuts: list[int] = []

    def unlucky(connection: Connection) -> int:
        if not cuts:
            cuts.append(1)
            cut(url, connection)
        return adding(1)(connection)

    assert remote.write(unlucky) == 1
    with pytest.raises(ZeroDivisionError):
        remote.write(lambda _: 1 // 0)
    assert dict(remote.ended) == {("read", "57P01"): 1}
    assert sum(remote.faults.values()) == 1

    event.listen(remote._engine, "commit", lambda connection: cut(url, connection))
    with pytest.raises(DBAPIError):
        remote.write(adding(2))
    assert [work for work, _ in remote.ended] == ["read", "write"]


def test_writes_beside_one_whose_connection_is_cut_go_on(url: str, home: Path) -> None:
    """Each has a transaction of its own: none of them is lost, none done twice, and what fails by itself still does."""
    cuts: list[int] = []

    def unlucky(connection: Connection) -> str:
        adding(9)(connection)
        if not cuts:
            cuts.append(1)
            cut(url, connection)
        connection.execute(select(1))
        return "at last"

    database = Database.open(url, home)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(database.write, work) for work in (adding(1), unlucky, adding(2), adding(1))]
        outcomes = [future.exception() or future.result() for future in futures]

    assert sorted(str(each) for each in outcomes if not isinstance(each, Exception)) == ["1", "2", "at last"]
    assert [type(each).__name__ for each in outcomes if isinstance(each, Exception)] == ["IntegrityError"]
    assert count(database) == 3
    assert sum(database.faults.values()) >= 1
    database.close()


def test_who_loses_a_race_looks_again(remote: Database, url: str) -> None:
    """What another made between the look and the write is found by one more try."""
    looks: list[int] = []

    def made_once(connection: Connection) -> str:
        found = connection.execute(select(flows.c.id).where(flows.c.name == "flow 1")).scalar()
        looks.append(1)
        if found is not None:
            return "found"
        if len(looks) == 1:
            with psycopg.connect(url) as other:
                other.execute(
                    "INSERT INTO flows (id, name, created_us, updated_us) VALUES (%s, 'flow 1', 1, 1)",
                    [an_id(77)],
                )
        adding(1)(connection)
        return "made"

    assert remote.write(made_once) == "found"
    assert len(looks) == 2
    assert remote.faults == {"23505": 1}


@pytest.mark.parametrize(
    ("setting", "code"),
    [("statement_timeout", "57014"), ("default_transaction_read_only", "25006")],
)
def test_what_an_operator_ends_is_tried_again(remote: Database, setting: str, code: str) -> None:
    """A statement that took too long, and a server that does not write since a failover."""
    calls: list[int] = []

    def work(connection: Connection) -> int:
        calls.append(1)
        if len(calls) == 1 and setting == "statement_timeout":
            connection.execute(text("SET LOCAL statement_timeout = '10ms'"))
            connection.execute(text("SELECT pg_sleep(20)"))
        if len(calls) == 1:
            connection.execute(text("SET LOCAL transaction_read_only = on"))
        return adding(1)(connection)

    assert remote.write(work) == 1
    assert len(calls) == 2
    assert remote.faults == {code: 1}


def test_deadlocks_pass(remote: Database, url: str) -> None:
    """The one that the database chose as its victim is done again."""
    remote.write(lambda connection: [adding(number)(connection) for number in (1, 2)])
    mine, theirs = threading.Event(), threading.Event()

    def touch(connection: Connection, number: int) -> None:
        connection.execute(
            text("UPDATE flows SET updated_us = updated_us + 1 WHERE name = :name"),
            {"name": f"flow {number}"},
        )

    def ours(connection: Connection) -> None:
        touch(connection, 1)
        mine.set()
        assert theirs.wait(20)
        touch(connection, 2)

    def other() -> None:
        with psycopg.connect(url) as connection:
            connection.execute("SET deadlock_timeout = '20s'")  # so that it is the writer who is chosen
            assert mine.wait(20)
            connection.execute("UPDATE flows SET updated_us = updated_us + 10 WHERE name = 'flow 2'")
            theirs.set()
            connection.execute("UPDATE flows SET updated_us = updated_us + 10 WHERE name = 'flow 1'")

    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(other)
        remote.write(ours)
        beside.result(20)
    with remote.read() as connection:
        moments = connection.execute(select(flows.c.updated_us - flows.c.created_us)).scalars().all()

    assert moments == [11, 11]


def test_what_cannot_be_put_in_a_row_with_others_is_done_again(remote: Database, url: str) -> None:
    """A transaction that was to see one moment only, and met what another wrote since: 40001, as PostgreSQL says it."""
    remote.write(adding(1))
    calls: list[int] = []

    def work(connection: Connection) -> int:
        calls.append(1)
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        seen = connection.execute(select(flows.c.updated_us)).scalar_one()
        if len(calls) == 1:
            with psycopg.connect(url) as other:
                other.execute("UPDATE flows SET updated_us = updated_us + 10")
        connection.execute(text("UPDATE flows SET updated_us = :next"), {"next": seen + 1})
        return int(seen) + 1

    last = remote.write(work)

    with remote.read() as connection:
        assert connection.execute(select(flows.c.updated_us - flows.c.created_us)).scalar() == 11
        assert connection.execute(select(flows.c.updated_us)).scalar() == last
    assert len(calls) == 2
    assert remote.faults == {"40001": 1}


@pytest.fixture(scope="module")
def small() -> Iterator[Cluster]:
    """A PostgreSQL that takes ten connections."""
    with clusters.started(lambda: Cluster(options={"max_connections": "10"})) as cluster:
        yield cluster


@contextlib.contextmanager
def all_taken(cluster: Cluster) -> Iterator[None]:
    """Take every connection that a PostgreSQL has left; it says so to whoever comes next."""
    with contextlib.ExitStack() as held:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            while True:
                held.enter_context(psycopg.connect(cluster.url()))
        yield


@pytest.mark.parametrize("direct", [False, True], ids=["pooled", "direct"])
def test_a_write_waits_for_a_free_connection(small: Cluster, home: Path, direct: bool) -> None:
    """ "Too many clients" passes when somebody hangs up: the write comes again by itself, and is done once."""
    with small.database() as url:
        database = Database.open(url, home, direct=direct)
        database._engine.dispose()  # it had one; others come first now
        with ThreadPoolExecutor(1) as pool:
            with all_taken(small):
                writing = pool.submit(database.write, adding(1))
                deadline = time.monotonic() + 20
                while not database.faults:
                    assert time.monotonic() < deadline
                    assert not writing.done(), writing.exception()
                    time.sleep(0.005)  # between two looks
            assert writing.result(20) == 1

        assert count(database) == 1
        assert sum(database.faults.values()) >= 1
        database.close()


def test_where_no_connection_comes_free_the_caller_is_told_to_come_again(small: Cluster, home: Path) -> None:
    """After a bounded time, by readers and writers; nothing was done, and all goes on once there is one."""
    with small.database() as url:
        database = Database.open(url, home)
        database._engine.dispose()
        database._readers.dispose()
        with all_taken(small):
            for ask in (lambda: count(database), lambda: database.write(adding(1))):
                with pytest.raises(DBAPIError, match="too many clients") as caught:
                    ask()
                assert database.is_passing(caught.value)

        assert count(database) == 0
        assert database.write(adding(1)) == 1
        database.close()


def test_a_restarted_server_is_found_again(postgres: Cluster, home: Path) -> None:
    """By readers and writers, whatever it was that ended the old one."""
    for end in (postgres.restart, lambda: postgres.restart(immediate=True), _kill_and_start(postgres)):
        with postgres.database() as url:
            database = Database.open(url, home)
            database.write(adding(1))
            end()

            assert count(database) == 1
            assert database.write(adding(2)) == 2
            database.close()


def _kill_and_start(cluster: Cluster) -> Callable[[], None]:
    def end() -> None:
        cluster.kill()
        cluster.start()

    return end


def test_while_the_server_is_away_the_caller_is_told_to_come_again(
    postgres: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a bounded time, by readers and writers."""
    monkeypatch.setattr("headrace.server.store.writer.PAUSES_S", (0.0,))
    with postgres.database() as url:
        database = Database.open(url, home)
        postgres.stop()
        refused: list[Any] = []
        for ask in (lambda: count(database), lambda: database.write(adding(1))):
            with pytest.raises(DBAPIError) as caught:
                ask()
            refused.append(caught.value)
        postgres.start()

        assert [database.is_passing(error) for error in refused] == [True, True]
        assert database.write(adding(1)) == 1
        database.close()


def test_a_plan_made_for_an_empty_table_is_not_kept(remote: Database) -> None:
    """Statements are prepared, and planned anew for as many rows as there are now."""

    def often(connection: Connection) -> list[tuple[int, int]]:
        for number in range(20):
            connection.execute(select(flows.c.name).where(flows.c.id == an_id(number))).all()
        plans = text("SELECT generic_plans, custom_plans FROM pg_prepared_statements")
        return [tuple(row) for row in connection.execute(plans)]

    found = remote.write(often)

    assert sum(custom for _, custom in found) >= 10
    assert sum(generic for generic, _ in found) == 0


def test_servers_that_meet_in_an_empty_database_do_not_collide(url: str, home: Path) -> None:
    """One makes the tables; the others wait for it and find them."""
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: Database.open(url, home), range(6)))
    for database in opened:
        assert database.is_current()
        database.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"database": "nowhere"}, r"nowhere.*does not exist.*createdb"),
        ({"host": "127.0.0.1", "port": 1, "query": {}}, r"refused.*is PostgreSQL running"),
    ],
)
def test_a_database_that_cannot_be_opened_is_said_so(
    url: str, home: Path, change: dict[str, Any], words: str
) -> None:
    """With what PostgreSQL said, what to look at, and no password."""
    wrong = make_url(url).set(password="a secret", **change).render_as_string(hide_password=False)
    with pytest.raises(ServerUnavailable, match=words) as caught:
        Database.open(wrong, home)

    assert "secret" not in str(caught.value)


def test_one_who_may_not_make_tables_is_told_so(url: str, home: Path) -> None:
    """As since PostgreSQL 15 nobody but a database's owner may."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    guest = make_url(url).set(username="guest").render_as_string(hide_password=False)
    with pytest.raises(ServerUnavailable, match=r"permission denied.*may this user"):
        Database.open(guest, home)


@contextlib.contextmanager
def asked(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note which connections are asked whether they are alive."""
    found: list[str] = []
    with monkeypatch.context() as patched:
        for name, engine in (("write", database._engine), ("read", database._readers)):
            ping = engine.dialect.do_ping

            def do_ping(driver: Any, name: str = name, ping: Callable[[Any], bool] = ping) -> bool:
                found.append(name)
                return ping(driver)

            patched.setattr(engine.dialect, "do_ping", do_ping)
        yield found


def test_a_connection_in_use_is_not_asked_whether_it_lives(
    remote: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That would take longer than most statements; after a pause it is."""
    remote.write(adding(1))
    assert count(remote) == 1
    with asked(remote, monkeypatch) as found:
        remote.write(adding(2))
        assert count(remote) == 2
        assert found == []
        monkeypatch.setattr("headrace.server.store.postgres.ASKED_AFTER_S", 0.0)
        assert count(remote) == 2
        assert found == ["read"]


def test_a_connection_that_was_ended_while_it_lay_is_not_given_out(remote: Database, url: str) -> None:
    """Though it was used a moment ago: what PostgreSQL said at its end is there to be read."""
    remote.write(adding(1))
    assert count(remote) == 1
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    assert count(remote) == 1
    assert remote.write(adding(2)) == 2
    assert dict(remote.ended) == {}
    assert sum(remote.faults.values()) == 0
