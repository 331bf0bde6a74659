"""The tables as declared and the tables as migrated are the same tables."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from headrace.errors import ServerUnavailable
from headrace.server.store import migrations, schema
from headrace.server.store import postgres as postgres_kind
from headrace.server.store.database import FILE_NAME, Database, read_url
from headrace.testing.postgres import Cluster


def shape(path: Path) -> dict[str, str]:
    """Return ``{table or index: the statement that makes it}``, without Alembic's own."""
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%'"
    )
    made = {name: re.sub(r"\s*([,()])\s*", r"\1", re.sub(r"\s+", " ", sql)) for name, sql in rows}
    connection.close()
    return made


def migrated(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrations.upgrade(connection)
    engine.dispose()


def test_the_tables_are_those_of_all_migrations(home: Path) -> None:
    """Column by column, index by index: the statements are the same."""
    Database.open("", home).close()
    migrated(home / "migrated.db")

    assert shape(home / "migrated.db") == shape(home / FILE_NAME)
    assert len(shape(home / FILE_NAME)) > 30


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.parametrize(
    ("older", "newer"), [("0001", "0002"), ("0002", "0003"), ("0003", "0004"), ("0004", "0005")]
)
def test_the_older_release_goes_on_on_the_newer_tables(tmp_path: Path, older: str, newer: str) -> None:
    """Servers of both run side by side while they are changed one by one: nothing that was written is refused or gone."""
    engine = create_engine(f"sqlite:///{tmp_path / 'growing.db'}")
    columns = []
    for revision in (older, newer):
        with engine.begin() as connection:
            migrations.upgrade(connection, revision)
            found = inspect(connection)
            columns.append(
                {
                    (table, column["name"]): column
                    for table in found.get_table_names()
                    for column in found.get_columns(table)
                }
            )
    engine.dispose()
    before, after = columns

    assert before.keys() <= after.keys()
    assert all(str(before[key]["type"]) == str(after[key]["type"]) for key in before)
    old_tables = {table for table, _ in before}
    added = [after[key] for key in after.keys() - before.keys() if key[0] in old_tables]
    assert [one["name"] for one in added if not one["nullable"] and one["default"] is None] == []


def test_every_step_is_compared() -> None:
    """A new revision belongs into the list above."""
    assert schema.HEAD == "0005"


def test_the_constant_head_is_the_newest_migration() -> None:
    """So that opening an up-to-date database need not ask Alembic."""
    assert migrations.head() == schema.HEAD


def test_a_migrated_database_is_current(home: Path) -> None:
    """And migrating it again does nothing."""
    home.mkdir()
    migrated(home / FILE_NAME)
    migrated(home / FILE_NAME)
    before = shape(home / FILE_NAME)
    database = Database.open("", home)
    database.migrate()

    assert database.is_current()
    assert before == shape(home / FILE_NAME)
    database.close()


def test_an_empty_file_becomes_a_database(home: Path) -> None:
    """As one that another tool touched, or whose first opener died early."""
    home.mkdir()
    (home / FILE_NAME).touch()
    database = Database.open("", home)

    assert database.is_current()
    database.close()


def test_on_postgresql_too(postgres: Cluster, home: Path) -> None:
    """The same comparison by reflection: columns, indexes and their conditions."""
    shapes = []
    for is_migrated in (True, False):
        with postgres.database() as url:
            if is_migrated:
                engine = create_engine(read_url(url, home))
                with engine.begin() as connection:
                    migrations.upgrade(connection)
                engine.dispose()
            database = Database.open(url, home)
            assert database.is_current()
            shapes.append(reflected(database))
            database.close()

    assert shapes[0] == shapes[1]
    assert len(shapes[0]) > 30


def test_a_change_of_tables_does_not_wait_long_for_a_table(
    postgres: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever came later would wait behind it; nothing is changed, and the next try finds it as it was."""
    monkeypatch.setattr(postgres_kind, "LOCK_TIMEOUT", "200ms")
    with postgres.database() as url:
        engine = create_engine(read_url(url, home))
        with engine.begin() as connection:
            migrations.upgrade(connection, "0002")
        database = Database(read_url(url, home))
        with engine.connect() as reader:
            reader.execute(text("SELECT count(*) FROM flow_runs"))  # in a transaction that stays open
            with pytest.raises(ServerUnavailable, match="200ms, because somebody uses them"):
                database.migrate()
        with database.read() as connection:
            assert schema.version_of(connection) == "0002"
        database.migrate()

        assert database.is_current()
        assert database.remake(lambda c: c.execute(text("SHOW statement_timeout")).scalar()) == "1h"
        assert database.write(lambda c: c.execute(text("SHOW lock_timeout")).scalar()) == "0"
        database.close()
        engine.dispose()


def reflected(database: Database) -> list[str]:
    """Return every column, index, trigger and function of a database, in words."""
    with database.read() as connection:
        found = inspect(connection)
        names = sorted(set(found.get_table_names()) - {"alembic_version"})
        columns = [f"{name}: {column}" for name in names for column in found.get_columns(name)]
        indexes = text("SELECT indexdef FROM pg_indexes WHERE tablename = ANY(:names) ORDER BY indexdef")
        ours = "pg_proc WHERE pronamespace = current_schema()::regnamespace"
        rules = (
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
            f"SELECT prosrc || array_to_string(proconfig, ' ') FROM {ours} ORDER BY 1",
        )
        made = [line for query in rules for line in connection.execute(text(query)).scalars()]
        return columns + list(connection.execute(indexes, {"names": names}).scalars()) + made
