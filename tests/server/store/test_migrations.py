"""The tables as declared and the tables as migrated are the same tables."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
from collections.abc import Iterator
from datetime import date, datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from headrace.errors import ServerUnavailable
from headrace.server.store import migrations, schema
from headrace.server.store import postgres as postgres_kind
from headrace.server.store.database import FILE_NAME, Database, read_url
from headrace.server.store.standing import Stamp, Standing
from headrace.testing.postgres import Cluster

from ...verdicts.house import until
from ..release_to_come import ADDS, release_to_come


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


@pytest.fixture(params=["sqlite", "postgres"])
def growing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database of either kind, which a test migrates step by step."""
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'growing.db'}"
        if request.param == "postgres":
            cluster: Cluster = request.getfixturevalue("postgres")
            url = stack.enter_context(cluster.database())
        engine = create_engine(read_url(url, tmp_path))
        stack.callback(engine.dispose)
        yield engine


EVERY = migrations.after(None)
STEPS = [(before.revision, after) for before, after in pairwise(EVERY)]


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.parametrize(
    ("older", "newer"),
    [(older, newer.revision) for older, newer in STEPS if newer.serves_since is None],
    ids=lambda revision: str(revision),
)
def test_code_of_the_revision_before_can_go_on_after_a_pre_migration(
    growing: Engine, older: str, newer: str
) -> None:
    """Servers of both run side by side while they are changed one by one: nothing that was written is refused or gone."""
    before, after = (grown(growing, revision) for revision in (older, newer))

    assert before.columns.keys() <= after.columns.keys()
    assert all(before.columns[key]["type"] == after.columns[key]["type"] for key in before.columns)
    tables = {table for table, _ in before.columns}
    added = [after.columns[key] for key in after.columns.keys() - before.columns.keys() if key[0] in tables]
    assert [one["name"] for one in added if not one["nullable"] and one["default"] is None] == []
    assert {rule for rule in after.rules - before.rules if (rule[0], rule[1][0]) in before.columns} == set()


class Grown(NamedTuple):
    """The tables at a revision."""

    columns: dict[tuple[str, str], dict[str, Any]]
    """By table and name."""
    rules: set[tuple[str, tuple[str, ...]]]
    """What refuses rows: tables and the columns that are unique, or refer to another table."""


def grown(engine: Engine, revision: str) -> Grown:
    with engine.begin() as connection:
        migrations.upgrade(connection, revision)
        found = inspect(connection)
        columns, rules = {}, set()
        for table in found.get_table_names():
            for column in found.get_columns(table):
                columns[table, column["name"]] = {**column, "type": str(column["type"])}
            unique = [each["column_names"] for each in found.get_indexes(table) if each["unique"]]
            unique += [each["column_names"] for each in found.get_unique_constraints(table)]
            foreign = [each["constrained_columns"] for each in found.get_foreign_keys(table)]
            rules |= {(table, tuple(str(name) for name in each)) for each in [*unique, *foreign]}
    return Grown(columns, rules)


@pytest.mark.parametrize("migration", EVERY, ids=lambda one: one.revision)
def test_a_migration_is_named_pre_or_post(migration: migrations.Migration) -> None:
    """By its file, so that whoever looks at the folder knows; a post one says which code may go on."""
    (file,) = (migrations.FOLDERS[0]).glob(f"r{migration.revision}_*.py")
    kind = "pre" if migration.serves_since is None else "post"

    assert re.fullmatch(rf"r\d{{4}}_{kind}_\w+\.py", file.name)
    assert migration.serves_since is None or migration.serves_since <= migration.revision


def test_the_other_constants_are_those_of_the_migrations(growing: Engine) -> None:
    """What this code needs is all but the post migrations at the end; a new database says what a migrated one says."""
    pre = [each.revision for each in EVERY if each.serves_since is None]
    with growing.begin() as connection:
        migrations.upgrade(connection)

    assert pre[-1] == schema.NEEDED
    with growing.connect() as connection:
        assert schema.stamp_of(connection) == Stamp(schema.HEAD, schema.SERVES_SINCE)
    with growing.begin() as connection:
        schema.drop(connection)
        schema.create(connection)
    with growing.connect() as connection:
        assert schema.stamp_of(connection) == Stamp(schema.HEAD, schema.SERVES_SINCE)


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
    """The same comparison by reflection: columns, indexes and their conditions, partitions and their bounds."""
    began = shapes = None
    while began != today():  # partitions begin with the day on which they are made
        began = today()
        shapes = [made_on_postgresql(postgres, home, is_migrated=one) for one in (True, False)]

    assert shapes is not None
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) > 30


def today() -> date:
    return datetime.now(timezone.utc).date()


def made_on_postgresql(postgres: Cluster, home: Path, *, is_migrated: bool) -> list[str]:
    """Return what a new database is, made by all migrations or at once."""
    with postgres.database() as url:
        if is_migrated:
            engine = create_engine(read_url(url, home))
            with engine.begin() as connection:
                migrations.upgrade(connection)
            engine.dispose()
        database = Database.open(url, home)
        try:
            assert database.is_current()
            return reflected(database)
        finally:
            database.close()


def test_logs_that_are_there_become_the_first_partition(postgres: Cluster, home: Path) -> None:
    """Under their ids, with their indexes; servers of the release before, which name no id, go on beside it."""
    old = (
        "INSERT INTO log_chunks (flow_run_id, first_us, last_us, min_level, max_level, lines, data) "
        "VALUES (NULL, 1, 2, 20, 20, 1, 'x') RETURNING id"
    )
    an_event = (
        "INSERT INTO events (id, occurred_us, received_us, event, resource_id) "
        "VALUES ('0197a000-0000-7000-8000-000000000001', 1, 2, 'e', 'r')"
    )
    where = "SELECT id, tableoid::regclass::text FROM log_chunks ORDER BY id"
    with postgres.database() as url:
        engine = create_engine(read_url(url, home), isolation_level="AUTOCOMMIT")
        with engine.begin() as connection:
            migrations.upgrade(connection, "0005")
        with engine.connect() as server:  # one of the release before: what it has prepared it goes on with
            server.execute(text("DROP ROLE IF EXISTS reporting"))
            server.execute(text("CREATE ROLE reporting"))
            server.execute(text("GRANT SELECT ON log_chunks TO reporting"))
            for _ in range(10):
                last = server.execute(text(old)).scalar_one()
            server.execute(text(an_event))
            database = Database.open(url, home)
            new = server.execute(text(old)).scalar_one()
            found = server.execute(text(where)).all()
            counted = server.execute(text("SELECT pg_get_serial_sequence('log_chunks', 'id')")).scalar_one()
            granted = server.execute(
                text("SELECT has_table_privilege('reporting', 'log_chunks', 'SELECT')")
            ).scalar()
            server.execute(text("DROP OWNED BY reporting"))
            server.execute(text("DROP ROLE reporting"))
            assert server.execute(text("DELETE FROM log_chunks WHERE id = :id"), {"id": last}).rowcount == 1
        engine.dispose()
        with database.read() as connection:
            events = connection.execute(text("SELECT tableoid::regclass::text FROM events")).scalars().all()
        database.close()

    assert (last, counted) == (10, "public.log_chunks_id_seq")
    assert [(id, name) for id, name in found[:10]] == [(n + 1, "log_chunks_first") for n in range(10)]
    assert found[10][0] == new > 1 << 60
    assert found[10][1] not in ("log_chunks_first", "log_chunks_rest")
    assert events == ["events_first"]
    assert granted


def test_a_change_of_tables_does_not_wait_long_for_a_table(
    postgres: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever came later would wait behind it; nothing is changed, and the next try finds it as it was."""
    monkeypatch.setattr(postgres_kind, "LOCK_TIMEOUT", "100ms")
    monkeypatch.setattr(postgres_kind, "LOCK_PATIENCE_S", 1.5)
    with postgres.database() as url:
        engine = create_engine(read_url(url, home))
        with engine.begin() as connection:
            migrations.upgrade(connection, "0002")
        database = Database(read_url(url, home))
        with engine.connect() as reader:
            reader.execute(text("SELECT count(*) FROM flow_runs"))  # in a transaction that stays open
            with pytest.raises(
                ServerUnavailable, match="because somebody uses them and did not let go in time"
            ):
                database.migrate()
        with database.read() as connection:
            assert schema.version_of(connection) == "0002"
        database.migrate()

        assert database.is_current()
        assert database.remake(lambda c: c.execute(text("SHOW statement_timeout")).scalar()) == "1h"
        assert database.write(lambda c: c.execute(text("SHOW lock_timeout")).scalar()) == "0"
        database.close()
        engine.dispose()


def test_who_holds_one_table_and_wants_another_is_let_go_on(postgres: Cluster, tmp_path: Path) -> None:
    """A change that takes tables in the other order lets go of them, and is made afterwards; neither is ended for it."""
    waits = text(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE journals%'"
    )
    with postgres.database() as url, contextlib.ExitStack() as stack:
        Database.open(url, tmp_path).close()
        stack.enter_context(release_to_come(tmp_path / "to_come", ADDS))
        engine, database = create_engine(read_url(url, tmp_path)), Database(read_url(url, tmp_path))
        stack.callback(engine.dispose)
        stack.callback(database.close)
        watcher = stack.enter_context(engine.connect().execution_options(isolation_level="AUTOCOMMIT"))
        migrating = threading.Thread(target=database.migrate)
        with engine.begin() as writer:
            writer.execute(text("DELETE FROM journals"))
            migrating.start()
            until(lambda: watcher.execute(waits).first(), "the change to wait for journals")
            writer.execute(text("DELETE FROM flow_runs"))  # which the change has
        migrating.join(30)

        assert database.standing() is Standing.CURRENT


def reflected(database: Database) -> list[str]:
    """Return every column, index, partition, trigger and function of a database, in words."""
    with database.read() as connection:
        found = inspect(connection)
        names = sorted(set(found.get_table_names()) - {"alembic_version"})
        columns = [f"{name}: {column}" for name in names for column in found.get_columns(name)]
        indexes = text("SELECT indexdef FROM pg_indexes WHERE tablename = ANY(:names) ORDER BY indexdef")
        ours = "pg_proc WHERE pronamespace = current_schema()::regnamespace"
        rules = (
            "SELECT oid::regclass || ' ' || pg_get_expr(relpartbound, oid) FROM pg_class WHERE relispartition ORDER BY 1",
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
            f"SELECT prosrc || array_to_string(proconfig, ' ') FROM {ours} ORDER BY 1",
        )
        made = [line for query in rules for line in connection.execute(text(query)).scalars()]
        return columns + list(connection.execute(indexes, {"names": names}).scalars()) + made
