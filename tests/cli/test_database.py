"""``headrace server database``: the data of a server in people's hands."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from headrace.cli.database import size
from headrace.server.store.database import FILE_NAME, Database
from headrace.testing.postgres import Cluster

from ..server.release_to_come import ADDS, TAKES, release_to_come
from ..server.store.filled import fill, rows
from .conftest import Headrace

DATABASE = ("server", "database")


@pytest.fixture
def filled(home: Path) -> Path:
    """The home folder's database, with something of everything in it."""
    database = Database.open("", home)
    fill(database)
    database.close()
    return home / FILE_NAME


def rows_in(file: Path) -> object:
    database = Database.open(f"sqlite:///{file}", file.parent)
    try:
        return rows(database)
    finally:
        database.close()


def test_a_backup_is_made_looked_at_and_restored(inside: Headrace, filled: Path, tmp_path: Path) -> None:
    """In the words that the page on backups has."""
    before, file = rows_in(filled), str(tmp_path / "backup")
    made = inside(*DATABASE, "backup", file)

    assert made.code == 0
    assert made.out.startswith("Wrote 22 rows") and file in made.out
    assert inside(*DATABASE, "backup", file).code == 1
    assert inside(*DATABASE, "backup", file, "--force", "-o", "json").json["rows"]["flow_runs"] == 2

    looked = inside(*DATABASE, "restore", file, "--dry-run", "-o", "json")

    assert set(looked.json) == {"file", "revision", "release", "made"}

    refused = inside(*DATABASE, "restore", file)

    assert refused.code == 1
    assert "--force" in refused.err

    for name in (filled, filled.with_name(FILE_NAME + "-wal"), filled.with_name(FILE_NAME + "-shm")):
        name.unlink(missing_ok=True)
    restored = inside(*DATABASE, "restore", file)

    assert restored.code == 0, restored.err
    assert "Restored 22 rows" in restored.out
    assert before == rows_in(filled)


def test_a_database_is_copied_to_postgresql(
    inside: Headrace, filled: Path, postgres: Cluster, home: Path
) -> None:
    """And a second copy into it is refused."""
    with postgres.database() as url:
        done = inside(*DATABASE, "copy", f"sqlite:///{filled}", url)

        assert done.code == 0, done.err
        assert "flow_runs ..." in done.err
        assert "holds the same now" in done.out
        assert inside(*DATABASE, "copy", f"sqlite:///{filled}", url).code == 1
        copied = Database.open(url, home)
        assert rows_in(filled) == rows(copied)
        copied.close()


def test_an_upgrade_says_what_it_does_and_what_waits(
    inside: Headrace, postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL servers of the version before may still be there; a dry run tells the same and does nothing."""
    upgrade = (*DATABASE, "upgrade")
    with postgres.database() as url:
        monkeypatch.setenv("HEADRACE_DATABASE_URL", url)
        assert inside(*upgrade).code == 0
        with release_to_come(tmp_path / "newer", ADDS, TAKES) as (added, newest):
            told = [
                inside(*upgrade, *options).out.splitlines()
                for options in (["--dry-run"], [], ["--dry-run"], ["--finish"], ["--finish"])
            ]
            checked = inside(*DATABASE, "check")
        again = inside(*upgrade)

    first, last = f"  {added} {ADDS.does}", f"  {newest} {TAKES.does}"
    waits = "When no server of an older version is left, `headrace server database upgrade --finish` does:"
    assert told[0][0].endswith("would be upgraded.") and told[0][1:] == [first, waits, last]
    assert told[1][0].startswith("Upgraded the database") and told[1][1:] == [first, waits, last]
    assert told[2][0].endswith("is up to date.") and told[2][1:] == [waits, last]
    assert told[3][0].startswith("Upgraded the database") and told[3][1:] == [last]
    assert told[4][0].endswith("is up to date.") and len(told[4]) == 1
    assert (
        checked.code == 1 and "deployments.pause_reason is missing" in checked.err
    )  # today's tables have it
    assert again.code == 2 and f"takes Headrace of revision {added} or newer" in again.err


def test_sqlite_is_upgraded_at_once(inside: Headrace, filled: Path, tmp_path: Path) -> None:
    """It has one server; code of today that it still serves says by whom it was upgraded."""
    with release_to_come(tmp_path / "newer", ADDS) as (added,):
        done = inside(*DATABASE, "upgrade")
    said = inside(*DATABASE, "upgrade")

    assert done.out.splitlines()[1:] == [f"  {added} {ADDS.does}"]
    assert (said.code, "by a newer Headrace with which this one can work" in said.out) == (0, True)
    assert inside(*DATABASE, "prune", "-o", "json").code == 0
    assert "a newer one made it" in inside(*DATABASE, "backup", str(tmp_path / "b")).err


def test_a_sound_database_is_said_to_be(inside: Headrace, filled: Path) -> None:
    """With what it holds."""
    done = inside(*DATABASE, "check")

    assert done.code == 0, done.err
    assert "Sound." in done.out
    assert inside(*DATABASE, "check", "-o", "json").json["rows"]["task_runs"] == 4


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE flow_runs SET history = '[[1,0' WHERE rowid = 1", "The flow run 0197a000-0001"),
        ("UPDATE task_runs SET state_type = 'FAILED'", "The task run 0197a000-0002"),
        ("UPDATE log_chunks SET data = x'00'", "The piece 1 of the log"),
        ("UPDATE log_chunks SET lines = 7", "it holds 3 lines"),
        ("DROP INDEX ix_flow_runs_name", "The index ix_flow_runs_name is missing"),
        ("ALTER TABLE journals DROP COLUMN torn", "The column journals.torn is missing"),
        ("DELETE FROM flows", "refers to a row of flows that is not there"),
    ],
)
def test_what_is_wrong_is_found(inside: Headrace, filled: Path, damage: str, said: str) -> None:
    """And the exit code says so."""
    connection = sqlite3.connect(filled)
    connection.execute(damage)
    connection.commit()
    connection.close()
    done = inside(*DATABASE, "check")

    assert done.code == 1
    assert said in done.err


def test_a_damaged_file_is_found(inside: Headrace, filled: Path) -> None:
    """By SQLite's own check."""
    connection = sqlite3.connect(filled)
    connection.execute("PRAGMA journal_mode=DELETE")
    page = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'ix_flow_runs_name'"
    ).fetchone()[0]
    connection.close()
    with filled.open("r+b") as file:
        file.seek((page - 1) * 4_096)
        file.write(os.urandom(64))
    done = inside(*DATABASE, "check")

    assert done.code == 1
    assert "damaged" in done.err or "malformed" in done.err


def test_what_takes_the_space_is_shown(
    inside: Headrace, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and bytes of each table, growth, the oldest run and what is kept how long."""
    monkeypatch.setenv("HEADRACE_RETENTION_EVENTS_DAYS", "0")
    monkeypatch.setenv("HEADRACE_RETENTION_LOGS_SIZE", "10 GB")
    shown = inside(*DATABASE, "stats", "-o", "json").json
    tables = {table["name"]: table for table in shown["tables"]}

    assert tables["task_runs"]["rows"] == 4
    assert tables["task_runs"]["bytes"] >= 4_096
    assert tables["task_runs"]["rows_a_day"] == 0  # they are of a time long ago
    assert shown["bytes"] == filled.stat().st_size
    assert shown["retention_days"] == {"runs": 90, "logs": 30, "events": None}
    assert shown["retention_bytes"] == {"runs": None, "logs": 10_000_000_000, "events": None}
    assert shown["oldest_run"].startswith("2025-06-15")

    table = inside(*DATABASE, "stats").out

    assert "events kept" in table and "for ever" in table
    assert "30 days, 10.0 GB at most" in table


def test_growth_is_told_for_a_day(inside: Headrace, home: Path) -> None:
    """From what was added lately, and on PostgreSQL too."""
    import time

    from headrace.server.store.sizes import measure

    from ..server.store.filled import take

    now_us = time.time_ns() // 1_000
    database = Database.open("", home)
    for number in range(4):
        take(database, number, tasks=5, at_us=now_us - number * 86_400_000_000)
    found = measure(database, now_us=now_us)
    database.close()
    runs = next(table for table in found.tables if table.name == "task_runs")

    assert runs.rows == 20
    assert 3 <= found.days < 3.1
    assert runs.rows_a_day == pytest.approx(20 / found.days)
    assert runs.bytes_a_day == pytest.approx(runs.bytes / found.days)


def test_what_is_old_is_deleted_when_somebody_asks(
    inside: Headrace, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same settings as a server's, after a look at what would go."""
    monkeypatch.setenv("HEADRACE_RETENTION_RUNS_DAYS", "100000")
    kept = inside(*DATABASE, "prune", "--dry-run", "-o", "json")
    monkeypatch.setenv("HEADRACE_RETENTION_RUNS_DAYS", "1")
    dry = inside(*DATABASE, "prune", "--dry-run")

    assert kept.json == {"flow_runs": 0}
    assert dry.out.startswith("2 flow runs would be deleted")
    assert inside(*DATABASE, "check", "-o", "json").json["rows"]["flow_runs"] == 2

    done = inside(*DATABASE, "prune")

    assert done.out.startswith("Deleted 2 flow runs")
    rows = inside(*DATABASE, "check", "-o", "json").json["rows"]
    assert (rows["flow_runs"], rows["task_runs"], rows["log_chunks"], rows["flows"]) == (0, 0, 0, 1)


def test_what_takes_too_much_room_is_deleted_when_somebody_asks(
    inside: Headrace, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However young it is; a size that cannot be read is told."""
    for thing in ("RUNS", "LOGS", "EVENTS"):
        monkeypatch.setenv(f"HEADRACE_RETENTION_{thing}_DAYS", "0")
    monkeypatch.setenv("HEADRACE_RETENTION_RUNS_SIZE", "1 TB")

    assert inside(*DATABASE, "prune", "-o", "json").json["flow_runs"] == 0

    monkeypatch.setenv("HEADRACE_RETENTION_RUNS_SIZE", "1 kB")

    assert "takes more room than it may" in inside(*DATABASE, "prune", "--dry-run").out
    assert inside(*DATABASE, "prune").out.startswith("Deleted 2 flow runs")

    monkeypatch.setenv("HEADRACE_RETENTION_RUNS_SIZE", "much")

    assert "a size such as 10 GB" in inside(*DATABASE, "prune").err


def test_no_database_is_made_where_one_is_looked_for(inside: Headrace, home: Path, tmp_path: Path) -> None:
    """A misspelt path is told."""
    for command in (("check",), ("stats",), ("prune",), ("backup", str(tmp_path / "b"))):
        done = inside(*DATABASE, *command)
        assert done.code == 1
        assert "There is no database" in done.err
    done = inside(*DATABASE, "copy", f"sqlite:///{tmp_path}/nowhere.db", f"sqlite:///{tmp_path}/new.db")

    assert done.code == 1
    assert "nowhere.db" in done.err
    assert not (tmp_path / "new.db").exists()
    assert not home.exists()


def test_a_size_is_written_for_people() -> None:
    """In units of a thousand."""
    assert [size(n) for n in (0, 999, 1_000, 4_700_000, 3e9, 5e13, None)] == [
        "0 B", "999 B", "1.0 kB", "4.7 MB", "3.0 GB", "50.0 TB", "?",
    ]  # fmt: skip
