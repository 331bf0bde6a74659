"""One writer, many readers, many processes: what is committed is there, and nobody undoes another."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from headrace.errors import SettingError
from headrace.server.store import schema
from headrace.server.store.database import FILE_NAME, Database, read_url
from headrace.server.store.tables import flows, journals

from ..databases import contents
from ..journals import NOW, an_id


def adding(number: int) -> Callable[[Connection], int]:
    """Return a write that adds flow ``number`` and returns the number."""
    row = {"id": an_id(number), "name": f"flow {number}", "created_us": NOW, "updated_us": NOW}

    def work(connection: Connection) -> int:
        connection.execute(insert(flows).values(row))
        return number

    return work


def count(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(flows)).scalar_one()


class Held:
    """Holds the writer in a write until it is let go."""

    def __init__(self) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()

    def __call__(self, _connection: Connection) -> None:
        self.entered.set()
        assert self.let_go.wait(20)


def queued(database: Database, works: list[Callable[[Connection], Any]]) -> list[Any]:
    """Carry writes out in one group: they are queued while another write is held."""
    held = Held()
    with ThreadPoolExecutor(len(works) + 1) as pool:
        first = pool.submit(database.write, held)
        assert held.entered.wait(20)
        futures = [pool.submit(database.write, work) for work in works]
        waiting = database._writer._queue  # type: ignore[union-attr]
        deadline = threading.Event()
        while waiting.qsize() < len(works):
            deadline.wait(0.001)
        held.let_go.set()
        first.result()
        return [future.exception() or future.result() for future in futures]


@pytest.fixture
def grouping(home: Path) -> Iterator[Database]:
    """An empty database whose writes share transactions: SQLite's."""
    database = Database.open("", home)
    yield database
    database.close()


def test_queued_writes_share_a_transaction_and_each_answers_for_itself(grouping: Database) -> None:
    """One that fails undoes what it did, and nothing of its neighbours."""
    database = grouping
    begun: list[object] = []
    event.listen(database._engine, "begin", lambda _connection: begun.append(1))

    def failing(connection: Connection) -> None:
        adding(99)(connection)
        raise ValueError("mine")

    outcomes = queued(database, [adding(1), failing, adding(2), adding(1), adding(3)])

    kinds = sorted(type(outcome).__name__ for outcome in outcomes)
    assert kinds == ["IntegrityError", "ValueError", "int", "int", "int"]
    assert count(database) == 3
    assert len(begun) == 2  # the held one's, and the group's


def test_a_group_whose_transaction_fails_is_tried_one_by_one(grouping: Database) -> None:
    """Whatever the reason: each write meets it again alone and reports it."""
    database = grouping
    broken: list[int] = []

    def breaking(connection: Connection) -> str:
        if not broken:  # as a full disk does: the whole transaction is gone, its savepoints with it
            broken.append(1)
            connection.exec_driver_sql("ROLLBACK")
            raise OSError("full")
        return "fine now"

    outcomes = queued(database, [adding(1), breaking, adding(2)])

    assert sorted(map(str, outcomes)) == ["1", "2", "fine now"]
    assert count(database) == 2


def test_one_of_a_group_that_meets_a_passing_fault_is_tried_again_alone(grouping: Database) -> None:
    """Its neighbours are not, and nobody is told of it."""
    calls: list[str] = []

    def unlucky(connection: Connection) -> str:
        calls.append("unlucky")
        adding(7)(connection)
        if calls.count("unlucky") == 1:
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))
        return "at last"

    def neighbour(connection: Connection) -> int:
        calls.append("neighbour")
        return adding(8)(connection)

    outcomes = queued(grouping, [unlucky, neighbour])

    assert sorted(map(str, outcomes)) == ["8", "at last"]
    assert (calls.count("unlucky"), calls.count("neighbour")) == (2, 1)
    assert count(grouping) == 2


def test_a_write_inside_a_write_is_refused(database: Database) -> None:
    """It would wait for itself for ever."""
    with pytest.raises(RuntimeError, match="connection it was given"):
        database.write(lambda _connection: database.write(adding(1)))


def test_a_reader_cannot_write_and_sees_one_moment(database: Database) -> None:
    """What is committed meanwhile is for the next look."""
    with database.read() as connection:
        before = connection.execute(select(func.count()).select_from(flows)).scalar_one()
        database.write(adding(1))
        after = connection.execute(select(func.count()).select_from(flows)).scalar_one()
        assert (before, after) == (0, 0)
        with pytest.raises(DBAPIError, match=r"(?i)read-?only"):
            adding(2)(connection)

    assert count(database) == 1


def test_closing_twice_is_fine_and_nothing_is_written_afterwards(database: Database) -> None:
    """The message says so."""
    database.close()
    database.close()
    with pytest.raises(RuntimeError, match="closed"):
        database.write(adding(1))


def test_what_was_queued_before_the_end_is_written(home: Path) -> None:
    """Closing finishes what is queued."""
    database = Database.open("", home)
    held = Held()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(database.write, held)
        assert held.entered.wait(20)
        second = pool.submit(database.write, adding(1))
        while not database._writer._queue.qsize():  # type: ignore[union-attr]
            held.let_go.wait(0.001)
        closing = pool.submit(database.close)
        held.let_go.set()
        assert (first.result(), second.result(), closing.result()) == (None, 1, None)

    again = Database.open("", home)
    assert count(again) == 1
    again.close()


@pytest.mark.parametrize("direct", [False, True])
def test_a_file_that_is_locked_is_tried_again(home: Path, direct: bool) -> None:
    """Another process writes; the busy answer passes and the write is done once."""
    database = Database.open("", home, direct=direct)
    event.listen(database._engine, "connect", lambda driver, _record: driver.execute("PRAGMA busy_timeout=0"))
    database._engine.dispose()
    other = sqlite3.connect(home / FILE_NAME, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    refused = threading.Event()
    event.listen(database._engine, "handle_error", lambda _context: refused.set())
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(database.write, adding(1))
        assert refused.wait(20)
        other.execute("COMMIT")
        other.close()
        assert writing.result(20) == 1
    assert count(database) == 1
    database.close()


def test_a_file_that_stays_locked_is_an_error_that_passes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is told to come again."""
    monkeypatch.setattr("headrace.server.store.writer.PAUSES_S", (0.0,))
    database = Database.open("", home, direct=True)
    event.listen(database._engine, "connect", lambda driver, _record: driver.execute("PRAGMA busy_timeout=0"))
    database._engine.dispose()
    other = sqlite3.connect(home / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DBAPIError) as caught:
        database.write(adding(1))
    other.close()

    assert database.is_passing(caught.value)
    assert database.write(adding(1)) == 1
    with pytest.raises(IntegrityError) as lasting:
        database.write(adding(1))
    assert not database.is_passing(lasting.value)
    database.close()


_SHIPS = """
import sys
from pathlib import Path
from headrace.server.ingest import append
from headrace.server.store.database import Database
from tests.server.journals import NOW, a_run, an_id, lines
number = int(sys.argv[2])
database = Database.open("", Path(sys.argv[1]), direct=True)
print("open", flush=True)
sys.stdin.readline()
for turn in range(10):
    journal = an_id(100 * number + turn, 0xA)
    data = lines(a_run(3, journal, first=1000 * number + 10 * turn))
    half = data.index(b"\\n", len(data) // 2) + 1
    held = append(database, journal, 0, data[:half], now_us=NOW, leased=False).held
    append(database, journal, held, data[held:], now_us=NOW, leased=False)
database.close()
"""


def test_companions_that_meet_in_an_empty_home_do_not_collide(home: Path) -> None:
    """Five at once make the database and write to it: every journal of each is whole."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", _SHIPS, str(home)]
    companions = [
        subprocess.Popen(
            [*command, str(number)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for number in range(5)
    ]
    for companion in companions:
        assert companion.stdout is not None
        assert companion.stdout.readline() == "open\n"
    for companion in companions:
        companion.communicate("go\n", timeout=50)
    database = Database.open("", home)
    told = contents(database)
    database.close()

    assert [companion.returncode for companion in companions] == [0] * 5
    assert [row["state_type"] for row in told["flow_runs"]] == ["COMPLETED"] * 50
    assert len(told["task_runs"]) == 150
    assert [row["torn"] for row in told["journals"]] == [0] * 50


def test_a_database_of_today_is_opened_without_alembic(home: Path) -> None:
    """Nor is it loaded to make an empty one."""
    code = "import sys;from pathlib import Path;from headrace.server.store.database import Database as D;"
    code += f"D.open('',Path({str(home)!r})).close();D.open('',Path({str(home)!r})).close();"
    code += "print([m for m in ('alembic','fastapi','httpx','pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_a_database_that_a_newer_headrace_has_changed_is_left_alone(home: Path) -> None:
    """The message says what to do."""
    Database.open("", home).close()
    with sqlite3.connect(home / FILE_NAME) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999', serves_since = '9998'")
    connection.close()
    with pytest.raises(SettingError, match=r"9999 and takes Headrace of revision 9998.*Upgrade Headrace"):
        Database.open("", home)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////tmp/x.db", "sqlite"),
        ("sqlite+aiosqlite:////tmp/x.db", "sqlite"),
        ("postgresql://u:p@h/n", "postgresql+psycopg"),
        ("postgresql+asyncpg://u:p@h/n", "postgresql+psycopg"),
    ],
)
def test_a_url_names_a_database_not_a_driver(url: str, driver: str, home: Path) -> None:
    """What older tools wrote in it is understood."""
    assert read_url(url, home).drivername == driver


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("nonsense", "cannot be read"),
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
        ("mysql://h/n", "mysql"),
    ],
)
def test_a_url_of_no_use_is_refused_without_showing_its_password(url: str, word: str, home: Path) -> None:
    """With a message that names the setting."""
    with pytest.raises(SettingError, match=f"database_url.*{word}"):
        read_url(url, home)


def test_a_journal_row_is_written_over_not_doubled(database: Database) -> None:
    """Begun and saved twice it is one row with the newest values; what is not named stays."""
    from headrace.server.store import journals as store

    def take(connection: Connection, offset: int, more: dict[str, Any]) -> None:
        store.begin(connection, database.kind, {an_id(1): NOW})
        store.save(connection, [{"id": an_id(1), "offset": offset, **more}])

    for offset, more in ((1, {"host": "mill"}), (7, {"torn": 3})):
        database.write(partial(take, offset=offset, more=more))
    with database.read() as connection:
        c = journals.c
        assert connection.execute(select(c.offset, c.host, c.torn)).all() == [(7, "mill", 3)]
    assert database.is_current()
    assert schema.HEAD
