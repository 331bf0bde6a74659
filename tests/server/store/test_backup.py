"""A backup holds everything, and either kind of database can be made from it again."""

from __future__ import annotations

import gzip
import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import create_engine, delete, func, insert, select, text, update
from sqlalchemy.engine import Connection

from headrace.errors import DatabaseError
from headrace.server.store import backup, journals, migrations, schema, tables
from headrace.server.store.database import Database, read_url

from ..databases import contents, emptied
from ..journals import NOW, an_id
from .filled import fill, rows, run_of, take


@pytest.fixture
def other(postgres_url: str, database_url: str, tmp_path: Path) -> Iterator[Database]:
    """An empty database of the other kind."""
    with emptied("" if database_url else postgres_url, tmp_path / "other", direct=True) as found:
        yield found


def test_what_is_restored_is_what_was_backed_up(database: Database, other: Database, tmp_path: Path) -> None:
    """Every row of every table, in the same kind of database and in the other."""
    fill(database)
    before = rows(database)
    report = backup.back_up(database, tmp_path / "b", now_us=NOW)

    assert all(before.values())  # a table without a row would prove nothing
    assert {name: len(found) for name, found in before.items()} == {
        name: total.rows for name, total in report.sums.items()
    }
    for target in (other, database):
        backup.restore(target, tmp_path / "b", now_us=NOW, force=target is database)
        assert before == rows(target)
        assert target.is_current()


def test_ids_that_were_given_once_are_not_given_again(
    database: Database, other: Database, tmp_path: Path
) -> None:
    """A supervisor asks for the commands that are newer than the last it saw, whatever was restored meanwhile."""
    fill(database)
    with database.read() as connection:
        last = connection.execute(select(func.max(tables.commands.c.id))).scalar_one()
    database.write(lambda c: c.execute(delete(tables.commands)))
    backup.back_up(database, tmp_path / "b", now_us=NOW)
    backup.restore(other, tmp_path / "b", now_us=NOW)

    def add(connection: Connection) -> int:
        return journals.add_command(
            connection, an_id(1, 0xA), action="cancel", flow_run_id=run_of(0), who=None, asked_us=NOW
        )

    assert other.write(add) == last + 1
    take(other, 7)  # log chunks count on too


def test_a_backup_is_one_moment_of_the_data(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written while it is made is in the next one, whole."""
    fill(database)
    before = rows(database)
    written = threading.Event()
    real = backup.portable.pages

    def pages(connection: Connection, shape: backup.Shape) -> object:
        if not written.is_set() and shape.name == "flow_runs":  # after the flows, before most of the rest
            written.set()
            take(database, 5)
        return real(connection, shape)

    monkeypatch.setattr(backup.portable, "pages", pages)
    backup.back_up(database, tmp_path / "b", now_us=NOW)
    monkeypatch.undo()
    during = rows(database)
    backup.restore(database, tmp_path / "b", now_us=NOW, force=True)

    assert written.is_set()
    assert before != during
    assert before == rows(database)


def test_a_file_that_is_there_is_not_written_over(database: Database, tmp_path: Path) -> None:
    """Unless that is asked for; and only its owner may read it."""
    (tmp_path / "b").write_text("mine")
    with pytest.raises(DatabaseError, match="--force"):
        backup.back_up(database, tmp_path / "b", now_us=NOW)

    assert (tmp_path / "b").read_text() == "mine"

    backup.back_up(database, tmp_path / "b", now_us=NOW, force=True)

    assert stat.S_IMODE(os.stat(tmp_path / "b").st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.glob("b*")) == ["b"]


def test_what_is_there_is_not_restored_over(database: Database, tmp_path: Path) -> None:
    """Unless that is asked for."""
    backup.back_up(database, tmp_path / "empty", now_us=NOW)
    fill(database)
    before = rows(database)
    with pytest.raises(DatabaseError, match="--force"):
        backup.restore(database, tmp_path / "empty", now_us=NOW)

    assert before == rows(database)

    backup.restore(database, tmp_path / "empty", now_us=NOW, force=True)

    assert not any(rows(database).values())


def test_nothing_is_restored_under_a_servers_feet(database: Database, tmp_path: Path) -> None:
    """It holds the lease of the loops; a server that is gone holds it no longer."""
    fill(database)
    backup.back_up(database, tmp_path / "b", now_us=NOW)
    database.write(lambda c: c.execute(update(tables.leases).values(until_us=NOW + 1)))
    with pytest.raises(DatabaseError, match="a server"):
        backup.restore(database, tmp_path / "b", now_us=NOW, force=True)
    backup.restore(database, tmp_path / "b", now_us=NOW + 1, force=True)


def test_a_damaged_backup_changes_nothing(database: Database, tmp_path: Path) -> None:
    """Wherever it was cut off or altered, the database holds what it held before."""
    fill(database, runs=1)
    whole = tmp_path / "whole"
    backup.back_up(database, whole, now_us=NOW)
    before, data = rows(database), whole.read_bytes()
    bad = tmp_path / "bad"
    places = [len(data) * part // 4 for part in range(1, 4)] + [40, len(data) - 5]
    for place in places:
        bad.write_bytes(data[:place])
        with pytest.raises(DatabaseError):
            backup.restore(database, bad, now_us=NOW, force=True)
        bad.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        with pytest.raises(DatabaseError):
            backup.restore(database, bad, now_us=NOW, force=True)

    assert before == rows(database)


def test_rows_that_are_not_those_that_were_written_are_noticed(database: Database, tmp_path: Path) -> None:
    """Each table's sum is in the file."""
    fill(database, runs=1)
    whole = tmp_path / "whole"
    backup.back_up(database, whole, now_us=NOW)
    head, body = _split(whole)
    frames = list(_frames(gzip.decompress(body)))
    assert [frame[0] for frame in frames if frame[1:2] == ["task_runs"]] == ["rows", "sum"]
    for missing in ("rows", "sum"):
        kept = [frame for frame in frames if frame[:2] != [missing, "task_runs"]]
        (tmp_path / "bad").write_bytes(head + gzip.compress(b"".join(map(_packed, kept))))
        with pytest.raises(DatabaseError, match="not those that it was written with"):
            backup.restore(database, tmp_path / "bad", now_us=NOW, force=True)


def _frames(data: bytes) -> Iterator[list[Any]]:
    while data:
        length = int.from_bytes(data[:4], "big")
        yield msgspec.msgpack.decode(data[8 : 8 + length])
        data = data[8 + length :]


def _packed(frame: list[Any]) -> bytes:
    data = msgspec.msgpack.encode(frame)
    return struct.pack(">II", len(data), zlib.crc32(data)) + data


def _split(path: Path) -> tuple[bytes, bytes]:
    lines = path.read_bytes().split(b"\n", 2)
    return b"\n".join(lines[:2]) + b"\n", lines[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"", "no backup"), (b"SQLite format 3\0", "no backup"), (b"headrace backup 2\n", "newer"),
     (b"headrace backup 1\n{}\n", "damaged")],
)  # fmt: skip
def test_a_file_that_is_no_backup_is_told(database: Database, tmp_path: Path, text: bytes, said: str) -> None:
    """And what to do."""
    (tmp_path / "b").write_bytes(text)
    with pytest.raises(DatabaseError, match=said):
        backup.restore(database, tmp_path / "b", now_us=NOW)


def test_a_backup_of_a_newer_headrace_is_refused(database: Database, tmp_path: Path) -> None:
    """By the revision of its tables."""
    backup.back_up(database, tmp_path / "b", now_us=NOW)
    data = (tmp_path / "b").read_bytes()
    first, second, rest = data.split(b"\n", 2)
    newer = second.split(b" ", 1)[1].replace(f'"{schema.HEAD}"'.encode(), b'"9999"')
    (tmp_path / "b").write_bytes(b"%b\n%08x %b\n%b" % (first, zlib.crc32(newer), newer, rest))
    with pytest.raises(DatabaseError, match="9999"):
        backup.restore(database, tmp_path / "b", now_us=NOW)


def test_a_backup_of_an_older_revision_is_brought_up_to_date(tmp_path: Path, home: Path) -> None:
    """Its tables are made as they were, so that what a migration works out is worked out."""
    home.mkdir()
    engine = create_engine(read_url(None, home))
    with engine.begin() as connection:
        migrations.upgrade(connection, "0002")
        connection.execute(insert(tables.flows).values(id=an_id(1), name="etl", created_us=1, updated_us=1))
        connection.execute(
            text(
                "INSERT INTO flow_runs (id, flow_id, name, created_us, updated_us, state_type, state_name, attempt, "
                "level, ord, run_count, running_us, auto_scheduled) "
                "SELECT id, id, 'r', 1, 1, 'RUNNING', 'Running', 1, 0, 0, 1, 0, 0 FROM flows"
            )
        )
    engine.dispose()
    old = Database(read_url(None, home), direct=True)
    backup.back_up(old, tmp_path / "b", now_us=NOW)
    old.close()
    with emptied("", tmp_path / "new", direct=True) as database:
        backup.restore(database, tmp_path / "b", now_us=NOW)

        assert database.is_current()
        with database.read() as connection:
            assert connection.execute(select(tables.flow_runs.c.holds_slot)).scalars().all() == [True]
        assert contents(database)["flow_runs"][0]["name"] == "r"
