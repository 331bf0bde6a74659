"""The queries that a large database is asked all day walk an index: nothing is scanned, nothing is sorted.

On PostgreSQL that is asked of one that has been in use for a while: what its planner chooses depends on what is there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Select, event, func, select
from sqlalchemy.engine import Connection

from headrace.server import store
from headrace.server.store import claims, deletion, gauges, lateness, planning, runs, slots, work_queues
from headrace.server.store import journals as journals_store
from headrace.server.store import task_runs as task_runs_store
from headrace.server.store.database import Database
from headrace.server.store.filters import Matcher, Scope, task_run_order
from headrace.server.store.tables import began_us, flow_runs, journals, log_chunks, task_runs
from headrace.testing.postgres import Cluster
from headrace.wire.filters import FlowRunFilter, TaskRunFilter

from ..journals import JOURNAL, NOW, an_id
from .crowded import RUNS, crowd

f, t = flow_runs.c, task_runs.c
FAILED = f.state_type == "FAILED"
HOT: dict[str, Select[Any]] = {
    "newest by id": select(f.id).order_by(f.id.desc()),
    "newest by id of a state": select(f.id).where(FAILED).order_by(f.id.desc()),
    "newest by id of a state's name": select(f.id).where(f.state_name == "Lost").order_by(f.id.desc()),
    "newest by expected start of a state's name": select(f.id)
    .where(f.state_name == "Lost")
    .order_by(f.expected_start_us.desc()),
    "last ended of a state": select(f.id).where(FAILED, f.end_us.is_not(None)).order_by(f.end_us.desc()),
    "newest by start": select(f.id).order_by(began_us.desc()),
    "newest by start of a state": select(f.id).where(FAILED).order_by(began_us.desc()),
    "newest by start of a state's name": select(f.id).where(f.state_name == "Lost").order_by(began_us.desc()),
    "newest by start of a flow": select(f.id).where(f.flow_id == an_id(1)).order_by(began_us.desc()),
    "newest by expected start": select(f.id).order_by(f.expected_start_us.desc()),
    "newest by expected start of a state": select(f.id).where(FAILED).order_by(f.expected_start_us.desc()),
    "next by expected start of a state": select(f.id).where(FAILED).order_by(f.expected_start_us),
    "last ended": select(f.id).where(f.end_us.is_not(None)).order_by(f.end_us.desc()),
    "by name": select(f.id).order_by(f.name),
    "a run by its name": select(f.id).where(f.name == "brisk-otter"),
    "a subflow by its stand-in": select(f.id).where(f.parent_task_run_id == an_id(1)),
    "children": select(f.id).where(f.parent_flow_run_id == an_id(1)),
    "by idempotency key": select(f.id).where(f.flow_id == an_id(1), f.idempotency_key == "x"),
    "task runs of a flow run": select(t.id).where(t.flow_run_id == an_id(1)).order_by(t.id),
    "newest task runs": select(t.id).order_by(t.expected_start_us.desc()),
    "open flow runs of a journal": select(f.id).where(f.journal_id == JOURNAL, f.end_us.is_(None)),
    "open task runs of a journal": select(t.id).where(t.journal_id == JOURNAL, t.end_us.is_(None)),
    "live runs of a queue": select(f.id).where(
        f.work_queue_id == an_id(1), f.state_type == "RUNNING", f.end_us.is_(None)
    ),
    "next of a queue": select(f.id)
    .where(f.work_queue_id == an_id(1), f.state_type == "SCHEDULED", f.end_us.is_(None))
    .order_by(f.next_scheduled_us),
    "live runs of a deployment": select(f.id).where(
        f.deployment_id == an_id(1), f.state_type == "RUNNING", f.end_us.is_(None)
    ),
    "lapsed leases": select(journals.c.id).where(
        journals.c.leased, journals.c.closed_us.is_(None), journals.c.last_seen_us < NOW
    ),
    "a flow run's log": select(log_chunks.c.id)
    .where(log_chunks.c.flow_run_id == an_id(1))
    .order_by(log_chunks.c.first_us),
}  # fmt: skip


SORTED = {"task runs of a flow run", "a flow run's log"}
"""Of a flow run's task runs PostgreSQL sorts those few, as their index does not hold their ids: see ``store/tables.py``. Of
its log it sorts the few chunks that it finds in several partitions."""

Call = Callable[[Connection], object]
QUEUE, DEPLOYMENT, LAST = an_id(3), an_id(3), NOW + RUNS * 1_000_000
WALKS: dict[str, Call] = {
    "claims.unbegun": lambda c: claims.unbegun(c, an_id(3), []),
    "claims.unconfirmed": lambda c: claims.unconfirmed(c, NOW),
    "deletion.delete_flow_runs": lambda c: deletion.delete_flow_runs(c, [an_id(1, 1)]),
    "gauges.ended_runs": lambda c: gauges.ended_runs(c, LAST - 60_000_000),
    "gauges.open_runs": gauges.open_runs,
    "gauges.queues": lambda c: gauges.queues(c, LAST),
    "journals.commands": lambda c: journals_store.commands(c, JOURNAL, 0),
    "journals.lapsed": lambda c: journals_store.lapsed(c, LAST),
    "lateness.overdue": lambda c: lateness.overdue(c, LAST, 100),
    "lateness.paused": lateness.paused,
    "lateness.unbegun": lambda c: lateness.unbegun(c, LAST),
    "planning.drop_planned": lambda c: planning.drop_planned(c, DEPLOYMENT),
    "planning.overdue": lambda c: planning.overdue(c, LAST, LAST + 60_000_000),
    "runs.open_runs": lambda c: runs.open_runs(c, JOURNAL),
    "slots.holders": lambda c: slots.holders(c, [QUEUE], limit=20),
    "slots.of_deployments": lambda c: slots.of_deployments(c, [DEPLOYMENT]),
    "slots.of_pools": lambda c: slots.of_pools(c, [an_id(1)]),
    "slots.of_queues": lambda c: slots.of_queues(c, [QUEUE]),
    "task_runs.by_keys": lambda c: task_runs_store.by_keys(c, an_id(1, 1), "load", "1", NOW),
    "work_queues.late": lambda c: work_queues.late(c, QUEUE),
    "work_queues.let_go": lambda c: work_queues.let_go(c, [QUEUE]),
}  # fmt: skip
"""How each function is called that says which index it walks."""


@pytest.fixture(scope="module")
def crowded(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A PostgreSQL that has been in use for a while."""
    with postgres.database() as url:
        database = Database.open(url, tmp_path_factory.mktemp("crowded"), direct=True)
        database.write(crowd)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        yield database
        database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def used(request: pytest.FixtureRequest, home: Path) -> Iterator[Database]:
    """That one; or one on SQLite, which plans the same for an empty database."""
    if request.param == "postgres":
        yield request.getfixturevalue("crowded")
        return
    database = Database.open("", home)
    yield database
    database.close()


@pytest.mark.parametrize("name", HOT)
def test_a_hot_query_walks_an_index(name: str, used: Database) -> None:
    """The database's own plan says so; no table is read from one end to the other, and nothing is sorted."""
    steps = plans(used, lambda connection: connection.execute(HOT[name].limit(50)))

    assert steps
    assert [step for step in steps if _reads_all(step)] == []
    if used.url.get_backend_name() == "sqlite" or name not in SORTED:
        assert [step for step in steps if "TEMP B-TREE" in step or "Sort" in step] == []


@pytest.mark.parametrize("name", WALKS)
def test_a_function_walks_the_indexes_that_it_names(name: str, used: Database) -> None:
    """And reads none of the tables that grow from one end to the other."""
    steps = plans(used, WALKS[name])

    ways = [[index in "\n".join(steps) for index in way] for way in named_indexes()[name]]
    assert any(all(way) for way in ways), steps
    growing = ("flow_runs", "task_runs", "journals", "commands", "log_chunks")
    assert [step for step in steps if _reads_all(step) and any(table in step for table in growing)] == []


def test_every_function_that_names_an_index_is_looked_at() -> None:
    """But for the deletions of retention, whose own tests time them, and the log's, whose query is among the hot ones."""
    named = {name for name in named_indexes() if not name.startswith(("retention.", "logs."))}

    assert named == WALKS.keys()


def test_task_runs_that_are_open_are_found_among_the_open_ones(used: Database) -> None:
    """However the list is ordered: of a million task runs a few are open, and the newest may all have ended."""
    wanted = TaskRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "PENDING"]}}})
    where = Matcher(used.url.get_backend_name()).task_runs(Scope(task_runs=wanted))
    newest = select(t.id).where(where).order_by(*task_run_order("EXPECTED_START_TIME_DESC")).limit(50)
    steps = plans(used, lambda connection: connection.execute(newest))

    assert [step for step in steps if "ix_task_runs_open" in step]
    assert not [step for step in steps if "ix_task_runs_expected_start" in step]


@pytest.mark.parametrize("counted", [False, True])
def test_task_runs_that_did_not_complete_are_found_among_those(used: Database, counted: bool) -> None:
    """Of a million task runs a few have failed; neither their list nor their count walks the others."""
    wanted = TaskRunFilter.model_validate({"state": {"type": {"any_": ["FAILED", "CRASHED"]}}})
    where = Matcher(used.url.get_backend_name()).task_runs(Scope(task_runs=wanted))
    newest = select(t.id).where(where).order_by(*task_run_order("EXPECTED_START_TIME_DESC")).limit(50)
    query = select(func.count()).select_from(task_runs).where(where) if counted else newest
    steps = plans(used, lambda connection: connection.execute(query))

    assert [step for step in steps if "ix_task_runs_rare" in step]
    assert not [step for step in steps if "ix_task_runs_expected_start" in step]


def test_what_failed_in_a_flow_run_is_found_among_its_own(used: Database) -> None:
    """Not among all that failed: of those there may be many more."""
    wanted = TaskRunFilter.model_validate({"state": {"type": {"any_": ["FAILED"]}}})
    of_run = FlowRunFilter.model_validate({"id": {"any_": [an_id(1)]}})
    where = Matcher(used.url.get_backend_name()).task_runs(Scope(task_runs=wanted, flow_runs=of_run))
    query = select(func.count()).select_from(task_runs).where(where)
    steps = plans(used, lambda connection: connection.execute(query))

    assert [step for step in steps if "ix_task_runs_flow_run" in step]
    assert not [step for step in steps if "ix_task_runs_rare" in step]


def plans(database: Database, call: Call) -> list[str]:
    """Return the steps by which the database carries out what a call asks; what the call changes is undone."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    explain = "EXPLAIN QUERY PLAN" if database.url.get_backend_name() == "sqlite" else "EXPLAIN"
    with database._engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", note)
        call(connection)
        event.remove(connection, "before_cursor_execute", note)
        return [
            str(row[-1])
            for statement, values in asked
            for row in connection.exec_driver_sql(f"{explain} {statement}", values)
        ]


def _reads_all(step: str) -> bool:
    if "cost=0.00..0.00" in step:
        return False  # a partition in which nothing is: there is nothing to read, whichever way
    return "Seq Scan" in step or (step.startswith("SCAN") and "INDEX" not in step)


@lru_cache
def named_indexes() -> dict[str, list[list[str]]]:
    """Return ``{"module.function": [[index, ...], ...]}``: what functions of the store say that they walk.

    Where they name several ways ("or"), one of them has to be gone; of an index that ends with an asterisk its beginning
    is looked at.
    """
    found: dict[str, list[list[str]]] = {}
    for path in Path(store.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                said = (ast.get_docstring(node) or "").partition("Walks ")[2]
                ways = [re.findall(r"``((?:ix|uq)_\w+)\*?``", way) for way in re.split(r"\bor\b", said)]
                if any(ways):
                    found[f"{path.stem}.{node.name}"] = [way for way in ways if way]
    return found
