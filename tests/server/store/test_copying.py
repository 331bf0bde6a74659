"""A copy is the same as its source, however often it was killed, and it harms nothing that was there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from headrace.errors import DatabaseError, SettingError
from headrace.server.store import copying, portable, schema, tables
from headrace.server.store.database import Database

from ..databases import emptied
from ..journals import NOW, an_id
from .filled import fill, rows, take


@pytest.fixture
def other(postgres_url: str, database_url: str, tmp_path: Path) -> Iterator[Database]:
    """An empty database of the other kind."""
    with emptied("" if database_url else postgres_url, tmp_path / "other", direct=True) as found:
        yield found
        if not found.is_current():  # the next test empties tables of today
            found.remake(remade)


def remade(connection: Connection) -> None:
    copying._progress.drop(connection, checkfirst=True)
    schema.drop(connection)
    schema.create(connection)


class Killed(BaseException):
    """The process that copies is gone."""


def killed_after(pages: int) -> copying.Callable[[copying.Step], None]:
    """Return what lets a copy die after so many pages."""
    seen: list[copying.Step] = []

    def told(step: copying.Step) -> None:
        seen.append(step)
        if len(seen) == pages:
            raise Killed

    return told


def test_a_copy_is_the_same_as_its_source(database: Database, other: Database) -> None:
    """Every row of every table, and the sums say so."""
    fill(database)
    sums = copying.copy(database, other, now_us=NOW)

    assert rows(database) == rows(other)
    assert {name: len(found) for name, found in rows(database).items()} == {
        name: total.rows for name, total in sums.items()
    }
    assert other.is_current()
    take(other, 9)  # what is counted goes on behind what was copied


def test_a_copy_that_was_killed_goes_on(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After whichever page: no row is lost or doubled, and no server works with a half of it."""
    monkeypatch.setattr(portable, "_PAGE", 2)
    fill(database, runs=2, tasks=3)
    pages = 0
    while True:
        pages += 1
        try:
            copying.copy(database, other, now_us=NOW, told=killed_after(2))
        except Killed:
            with pytest.raises(SettingError, match="not finished"):
                other.migrate()
        else:
            break

    assert pages > 6
    assert rows(database) == rows(other)


def test_a_copy_that_is_killed_with_sigkill_goes_on(
    database: Database, other: Database, tmp_path: Path, home: Path
) -> None:
    """A real process, killed while it carries task runs over."""
    fill(database, runs=3, tasks=1_500)
    command = [str(Path(sys.executable).with_name("headrace")), "server", "database", "copy"]
    command += [
        database.url.render_as_string(hide_password=False),
        other.url.render_as_string(hide_password=False),
    ]
    environ = {**os.environ, "HEADRACE_HOME": str(home)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 50
    while carried_over(other) == 0:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    assert process.returncode == -signal.SIGKILL
    assert 0 < carried_over(other) < 4_500
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert rows(database) == rows(other)


def carried_over(database: Database) -> int:
    try:
        with database.read() as connection:
            if schema.version_of(connection) != schema.HEAD + schema.UNFINISHED:
                return 0
            return connection.execute(select(func.count()).select_from(tables.task_runs)).scalar_one()
    except DBAPIError:  # its tables are being made
        return 0


def test_a_target_that_holds_something_is_refused(database: Database, other: Database) -> None:
    """And left as it is, with or without --anew."""
    fill(database, runs=1)
    take(other, 3)
    before = rows(other)
    for anew in (False, True):
        with pytest.raises(DatabaseError, match="holds rows"):
            copying.copy(database, other, now_us=NOW, anew=anew)

    assert before == rows(other)
    assert other.is_current()


def test_a_copy_of_another_source_is_not_gone_on_with(
    database: Database, other: Database, tmp_path: Path
) -> None:
    """Unless it is to be thrown away."""
    fill(database, runs=1)
    with pytest.raises(Killed):
        copying.copy(database, other, now_us=NOW, told=killed_after(3))
    with emptied("", tmp_path / "third", direct=True) as third:
        take(third, 8)
        with pytest.raises(DatabaseError, match="--anew"):
            copying.copy(third, other, now_us=NOW)
        copying.copy(third, other, now_us=NOW, anew=True)

        assert rows(third) == rows(other)


def test_a_source_that_changed_meanwhile_is_noticed(database: Database, other: Database) -> None:
    """What was carried over before the change is not what the source holds now."""
    fill(database, runs=1)
    with pytest.raises(Killed):
        copying.copy(database, other, now_us=NOW, told=killed_after(6))
    database.write(lambda c: c.execute(update(tables.flows).values(name="another")))
    with pytest.raises(DatabaseError, match=r"not the same: flows .*--anew"):
        copying.copy(database, other, now_us=NOW)

    assert not other.is_current()

    copying.copy(database, other, now_us=NOW, anew=True)

    assert rows(database) == rows(other)


def test_a_row_that_is_missing_is_noticed(database: Database, other: Database) -> None:
    """The target is read whole before servers are let in."""
    fill(database, runs=1)

    def steal(step: copying.Step) -> None:
        if step.table == "task_runs":
            other.write(
                lambda c: c.execute(delete(tables.task_runs).where(tables.task_runs.c.id == an_id(1, 2)))
            )

    with pytest.raises(DatabaseError, match=r"task_runs \(1 rows, 2 in the source\)"):
        copying.copy(database, other, now_us=NOW, told=steal)


def test_nothing_is_copied_while_a_server_works(database: Database, other: Database) -> None:
    """Neither from under it nor to under it."""
    fill(database, runs=1)
    database.write(lambda c: c.execute(update(tables.leases).values(until_us=NOW + 1)))
    with pytest.raises(DatabaseError, match="a server"):
        copying.copy(database, other, now_us=NOW)
    with pytest.raises(DatabaseError, match="a server"):
        copying.copy(other, database, now_us=NOW)
