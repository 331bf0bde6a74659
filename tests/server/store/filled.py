"""Databases with something of everything in them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from headrace.model import entries
from headrace.server import ingest
from headrace.server.store import inputs, journals, schedules, tables
from headrace.server.store.database import Database

from ..journals import NOW, a_run, an_id, lines, opened

DAY_US = 86_400_000_000


def fill(database: Database, *, runs: int = 2, tasks: int = 2, logs: int = 3) -> None:
    """Put runs in by their journals, and a row in every other table."""
    for number in range(runs):
        take(database, number, tasks=tasks, logs=logs)
    database.write(_others)


def take(database: Database, number: int, *, tasks: int = 2, logs: int = 3, at_us: int = NOW) -> str:
    """Take a whole journal of one run in, all of it at another time than usual; return the run's id."""
    journal = journal_of(number)
    records = a_run(tasks, journal, first=number * 1_000, logs=logs)
    for record in records:
        record.t += at_us - NOW
    ingest.append(database, journal, 0, lines(records), now_us=at_us, leased=False)
    return run_of(number)


def take_open(database: Database, number: int, *, at_us: int = NOW) -> str:
    """Take the journal of a run in that goes on; return the run's id."""
    run = run_of(number)
    records = [
        opened(journal_of(number)),
        entries.FlowRun(run, at_us, "etl", "calm-heron"),
        entries.State(run, at_us, "RUNNING"),
    ]
    ingest.append(database, journal_of(number), 0, lines(records), now_us=at_us, leased=False)
    return run


def journal_of(number: int) -> str:
    """Return the id of a run's journal."""
    return an_id(number + 1, 0xA)


def run_of(number: int) -> str:
    """Return the id of a run."""
    return an_id(number * 1_000, 1)


def _others(connection: Connection) -> None:
    def add(table: Any, **values: Any) -> None:
        times = {c.name: NOW for c in table.columns if c.name in ("created_us", "updated_us")}
        connection.execute(insert(table).values(**times, **values))

    run, journal = run_of(0), journal_of(0)
    flow = connection.execute(select(tables.flows.c.id)).scalar()
    add(tables.leases, name="loops", holder="a server", fence=3, until_us=0)
    add(tables.work_pools, id=an_id(1, 3), name="mill", type="process", default_queue_id=an_id(1, 4))
    add(
        tables.work_queues,
        id=an_id(1, 4),
        work_pool_id=an_id(1, 3),
        name="default",
        priority=1,
        filter={"é": [1, None]},
    )
    add(
        tables.deployments,
        id=an_id(1, 6),
        flow_id=flow,
        name="nightly",
        tags=["a", "b"],
        work_queue_id=an_id(1, 4),
    )
    rule = {"schedule": {"interval": 3600.5}, "active": True}
    schedules.create(connection, an_id(1, 6), rule, id=an_id(1, 7), now_us=NOW)
    inputs.create(connection, run, id=an_id(1, 9), key="keyset", value='"ü"', sender=None, now_us=NOW)
    for _ in range(3):
        journals.add_command(
            connection, journal, action="cancel", flow_run_id=run, who="ada", asked_us=NOW, payload={"a": 1}
        )
    add(
        tables.events,
        id=an_id(1, 8),
        occurred_us=NOW,
        received_us=NOW,
        event="e",
        resource_id="r",
        flow_run_id=run,
    )
    add(tables.workers, id=an_id(1, 5), work_pool_id=an_id(1, 3), name="w", last_heartbeat_us=NOW)


def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, in the order of the primary keys."""
    with database.read() as connection:
        return {
            table.name: [
                tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in tables.metadata.sorted_tables
        }
