"""The tables as declared and the tables as migrated are the same tables."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from headrace.server.store import migrations, schema
from headrace.server.store.database import FILE_NAME, Database, read_url

from ..databases import POSTGRES


def shape(path: Path) -> dict[str, str]:
    """Return ``{table or index: the statement that makes it}``, without Alembic's own."""
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%'"
    )
    made = {name: re.sub(r"\s+", " ", sql) for name, sql in rows}
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


@pytest.mark.skipif(not POSTGRES, reason="HEADRACE_TEST_POSTGRES_URL names no database")
def test_on_postgresql_too(home: Path) -> None:
    """The same comparison by reflection: columns, indexes and their conditions."""
    engine = create_engine(read_url(POSTGRES, home))
    shapes = []
    for make in (migrations.upgrade, None):
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
            if make:
                make(connection)
        if make is None:
            Database.open(POSTGRES, home).close()
        found = inspect(engine)
        columns = {
            t: [str(c) for c in found.get_columns(t)]
            for t in found.get_table_names()
            if t != "alembic_version"
        }
        with engine.connect() as connection:
            where = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename != 'alembic_version'"
            shapes.append((columns, sorted(connection.execute(text(where)).scalars())))
    engine.dispose()

    assert shapes[0] == shapes[1]
