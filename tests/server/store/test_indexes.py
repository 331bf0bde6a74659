"""The queries that a large database is asked all day walk an index: nothing is scanned, nothing is sorted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, func, select
from sqlalchemy.engine import Connection

from headrace.server.store.database import Database
from headrace.server.store.filters import Matcher, Scope, task_run_order
from headrace.server.store.tables import began_us, flow_runs, journals, log_chunks, task_runs
from headrace.wire.filters import FlowRunFilter, TaskRunFilter

from ..journals import JOURNAL, NOW, an_id

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


@pytest.mark.parametrize("query", HOT.values(), ids=HOT.keys())
def test_a_hot_query_walks_an_index(query: Select[Any], home: Path) -> None:
    """SQLite's own plan says so; no table is read from one end to the other, and nothing is sorted."""
    database = Database.open("", home)
    with database.read() as connection:
        steps = _plan(connection, query.limit(50))
    database.close()

    assert not [step for step in steps if "TEMP B-TREE" in step]
    assert not [step for step in steps if step.startswith("SCAN") and "INDEX" not in step]


def test_task_runs_that_are_open_are_found_among_the_open_ones(home: Path) -> None:
    """However the list is ordered: of a million task runs a few are open, and the newest may all have ended."""
    database = Database.open("", home)
    wanted = TaskRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "PENDING"]}}})
    where = Matcher("sqlite").task_runs(Scope(task_runs=wanted))
    query = select(t.id).where(where).order_by(*task_run_order("EXPECTED_START_TIME_DESC")).limit(50)
    with database.read() as connection:
        steps = _plan(connection, query)
    database.close()

    assert [step for step in steps if "ix_task_runs_open" in step]
    assert not [step for step in steps if "ix_task_runs_expected_start" in step]


@pytest.mark.parametrize("counted", [False, True])
def test_task_runs_that_did_not_complete_are_found_among_those(home: Path, counted: bool) -> None:
    """Of a million task runs a few have failed; neither their list nor their count walks the others."""
    database = Database.open("", home)
    wanted = TaskRunFilter.model_validate({"state": {"type": {"any_": ["FAILED", "CRASHED"]}}})
    where = Matcher("sqlite").task_runs(Scope(task_runs=wanted))
    newest = select(t.id).where(where).order_by(*task_run_order("EXPECTED_START_TIME_DESC")).limit(50)
    query = select(func.count()).select_from(task_runs).where(where) if counted else newest
    with database.read() as connection:
        steps = _plan(connection, query)
    database.close()

    assert [step for step in steps if "ix_task_runs_rare" in step]
    assert not [step for step in steps if "ix_task_runs_expected_start" in step]


def test_what_failed_in_a_flow_run_is_found_among_its_own(home: Path) -> None:
    """Not among all that failed: of those there may be many more."""
    database = Database.open("", home)
    wanted = TaskRunFilter.model_validate({"state": {"type": {"any_": ["FAILED"]}}})
    of_run = FlowRunFilter.model_validate({"id": {"any_": [an_id(1)]}})
    where = Matcher("sqlite").task_runs(Scope(task_runs=wanted, flow_runs=of_run))
    with database.read() as connection:
        steps = _plan(connection, select(func.count()).select_from(task_runs).where(where))
    database.close()

    assert [step for step in steps if "ix_task_runs_flow_run" in step]
    assert not [step for step in steps if "ix_task_runs_rare" in step]


def _plan(connection: Connection, query: Select[Any]) -> list[str]:
    text = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    given = text.construct_params()
    values = tuple(
        text._bind_processors[name](given[name]) if name in text._bind_processors else given[name]
        for name in text.positiontup or ()
    )
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all()
    return [str(row[-1]) for row in plan]
