"""A statement that would lock rows against the order is not sent: no transaction gets as far as to wait for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.engine import Connection

from headrace.server import store
from headrace.server.store import bulk, locks, tables
from headrace.server.store.database import Database
from headrace.server.store.turns import OutOfTurn, of_change, of_insert

from ..databases import emptied
from ..journals import NOW, an_id
from .filled import fill

Work = Callable[[Connection], object]
t = tables


@pytest.fixture
def database(postgres_url: str, home: Path) -> Iterator[Database]:
    """A database on PostgreSQL, where rows are locked one by one, with something of everything in it."""
    with emptied(postgres_url, home) as database:
        fill(database)
        yield database


def hold(table: Table, **how: Any) -> Work:
    """Return what locks all rows of a table."""
    return lambda connection: locks.hold(connection, table, **how)


def change(table: Table) -> Work:
    """Return what writes all rows of a table, if there is one."""
    column = next(column for column in table.columns if not column.primary_key)
    return lambda connection: connection.execute(update(table).values({column: column}))


def execute(statement: Any) -> Work:
    """Return what carries out a statement."""
    return lambda connection: connection.execute(statement)


A_FLOW = {"id": an_id(5, 5), "name": "new", "created_us": NOW, "updated_us": NOW}
A_QUEUE = {
    **A_FLOW,
    "work_pool_id": an_id(1, 3),
    "priority": 2,
    "is_paused": False,
}
A_JOURNAL = {"id": an_id(5, 6), "offset": 0, "opened_us": NOW, "last_seen_us": NOW, "leased": False}

LATE: dict[str, tuple[Work, Work, str]] = {
    "a lock": (hold(t.flow_runs), hold(t.deployments), "flow_runs wants to lock rows of deployments"),
    "a lock again": (hold(t.flow_runs), hold(t.flow_runs), ""),
    "a change": (hold(t.flow_runs), change(t.journals), "flow_runs wants to lock rows of journals"),
    "many changes": (
        hold(t.task_runs),
        lambda c: bulk.update_many(
            c, t.flow_runs, ("id",), [{"id": an_id(n), "name": "n"} for n in range(9)]
        ),
        "task_runs wants to lock rows of flow_runs",
    ),
    "a new key": (
        hold(t.flow_runs),
        execute(insert(t.flows).values(A_FLOW)),
        "flow_runs wants to lock rows of flows",
    ),
    "new keys": (
        hold(t.flow_runs),
        lambda c: bulk.insert_many(c, t.flows, [A_FLOW]),
        "flow_runs wants to lock rows of flows",
    ),
    "a new id": (hold(t.flow_runs), lambda c: bulk.insert_many(c, t.journals, [A_JOURNAL]), ""),
    "a reference": (
        hold(t.work_queues),
        execute(insert(t.work_queues).values(A_QUEUE)),
        "work_queues wants to lock rows of work_pools",
    ),
    "what goes with it": (
        hold(t.flows),
        execute(delete(t.flows)),
        "flows wants to lock rows of deployments",
    ),
    "what is passed over": (hold(t.flow_runs), hold(t.deployments, skip_locked=True), ""),
    "after what is passed over": (
        hold(t.flow_runs, skip_locked=True),
        hold(t.deployments),
        "flow_runs wants to lock rows of deployments",
    ),
}


@pytest.mark.parametrize("name", LATE)
def test_what_comes_too_late_is_not_carried_out(database: Database, name: str) -> None:
    """Where nobody is waited for, and where the turn was kept, it is."""
    first, second, words = LATE[name]

    def work(connection: Connection) -> None:
        first(connection)
        if words:
            with pytest.raises(OutOfTurn, match=words):
                second(connection)
        else:
            second(connection)

    database.write(work)


def test_what_was_locked_in_its_turn_may_be_written_later(database: Database) -> None:
    """Also by references and by what goes with it; and the next transaction begins anew."""

    def work(connection: Connection) -> None:
        for table in (
            t.work_pools,
            t.work_queues,
            t.deployments,
            t.deployment_schedules,
            t.flows,
            t.flow_runs,
        ):
            locks.hold_to_delete(connection, table)
        connection.execute(insert(t.work_queues).values(A_QUEUE))
        change(t.work_pools)(connection)
        connection.execute(delete(t.deployments))

    database.write(work)
    database.write(hold(t.work_pools))


def test_an_error_says_what_is_wrong_and_undoes_the_transaction(database: Database) -> None:
    """It is a defect, so it is not tried again."""
    calls: list[int] = []

    def work(connection: Connection) -> None:
        calls.append(1)
        connection.execute(update(t.flow_runs).values(name="changed"))
        locks.hold(connection, t.work_pools)

    with pytest.raises(OutOfTurn, match=r"flow_runs .* work_pools, which come before them .*Lock them first"):
        database.write(work)
    assert calls == [1]
    with database.read() as connection:
        assert "changed" not in connection.execute(select(t.flow_runs.c.name)).scalars().all()


def test_what_statements_lock_is_read_from_the_tables() -> None:
    """Rows that their keys refer to, and those that go or change with them, as far as that goes on."""

    def names(found: locks.Locks) -> list[str]:
        return [locks.ORDER[place].name for place in found.places]

    assert names(of_change(t.flow_runs)) == ["flow_runs"]
    assert names(of_insert(t.flow_runs)) == ["flows", "flow_runs"]  # a key of idempotency may meet another
    assert names(of_insert(t.task_runs, meets=False)) == []
    assert names(of_insert(t.flow_run_inputs)) == ["flow_runs", "flow_run_inputs"]
    assert names(of_change(t.work_queues, deletes=True)) == ["work_queues", "deployments"]
    assert names(of_change(t.flows, deletes=True)) == [
        "deployments",
        "deployment_schedules",
        "flows",
        "flow_runs",
        "flow_run_inputs",
    ]


def test_rows_are_locked_by_the_functions_of_one_file_only() -> None:
    """They say what they lock; a SELECT of another place would not be looked at."""
    source = Path(store.__file__).parents[2]
    found = {
        path.name
        for path in source.rglob("*.py")
        if re.search(r"with_for_update|FOR (NO KEY )?UPDATE|FOR (KEY )?SHARE", path.read_text())
    }
    assert found == {"locks.py"}
