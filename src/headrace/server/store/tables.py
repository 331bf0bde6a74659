"""Every table and index of the server, declared once.

Ids are :class:`~.columns.Id`, times end in ``_us`` (microseconds since 1970, UTC), JSON is only for what is
read whole; tags are the one exception, see ``store/sqlite.py`` and ``store/postgres.py``.

A run's row carries its whole story: the columns under *state* are written by ``store/history.py`` and by
nothing else, so no table of states is needed.
"""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    false,
    func,
    literal_column,
)
from sqlalchemy.sql.selectable import HasHints

from .columns import Id, Json, Moment

S = TypeVar("S", bound=HasHints)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts by itself in INTEGER columns only


def _state_columns() -> list[Column[Any]]:
    """Return the columns that tell a run's state; see ``store/history.py``."""
    return [
        # Whose report stands: the journal that owns the run; NULL for a run of a foreign client.
        Column("journal_id", Id),
        Column("state_type", String(16)),
        Column("state_name", String(200)),
        Column("state_us", Moment),
        # The standing state in full when it is not the last of the history; NULL when it is.
        Column("state", Text),
        Column("history", Text),
        # How strong the standing report is (model.resolve.Strength): no weaker one replaces it.
        Column("attempt", Integer, nullable=False, default=0),
        Column("level", SmallInteger, nullable=False, default=0),
        Column("ord", BigInteger, nullable=False, default=0),
        Column("run_count", Integer, nullable=False, default=0),
        Column("expected_start_us", Moment),
        Column("next_scheduled_us", Moment),
        Column("start_us", Moment),
        Column("end_us", Moment),
        # Time in states of type RUNNING that are over, and since when it is in one now.
        Column("running_us", BigInteger, nullable=False, default=0),
        Column("running_since_us", Moment),
    ]


flows = Table(
    "flows",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(500), nullable=False, unique=True),
    Column("created_us", Moment, nullable=False),
    Column("updated_us", Moment, nullable=False),
    Column("tags", Json),
    Column("labels", Json),
)

flow_runs = Table(
    "flow_runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("flow_id", Id, ForeignKey("flows.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(500), nullable=False),
    Column("created_us", Moment, nullable=False),
    Column("updated_us", Moment, nullable=False),
    Column("flow_version", Text),
    Column("parameters", Json),
    Column("context", Json),
    Column("empirical_policy", Json),
    Column("tags", Json),
    Column("labels", Json),
    Column("idempotency_key", String(500)),
    Column("parent_flow_run_id", Id),
    Column("parent_task_run_id", Id),
    *_state_columns(),
    # What a deployment and a worker add.
    Column("deployment_id", Id),
    Column("deployment_version", Text),
    Column("work_pool_id", Id),
    Column("work_pool_name", Text),
    Column("work_queue_id", Id),
    Column("work_queue_name", Text),
    Column("job_variables", Json),
    Column("infrastructure_document_id", Id),
    Column("infrastructure_pid", Text),
    Column("auto_scheduled", Boolean, nullable=False, default=False),
    Column("created_by", Json),
    # The schedule that planned it.
    Column("schedule_id", Id),
    # Whether it takes a slot of its pool, queue and deployment: while an attempt lives.
    Column("holds_slot", Boolean, nullable=False, default=False, server_default=false()),
)

task_runs = Table(
    "task_runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("flow_run_id", Id),
    Column("task_key", String(500), nullable=False),
    Column("dynamic_key", String(500), nullable=False),
    Column("name", String(500), nullable=False),
    # "updated" of the contract is state_us: a task run's row changes with its state.
    Column("created_us", Moment, nullable=False),
    Column("task_version", Text),
    Column("cache_key", Text),
    Column("cache_expiration_us", Moment),
    Column("task_inputs", Json),
    Column("empirical_policy", Json),
    Column("tags", Json),
    Column("labels", Json),
    Column("flow_run_run_count", Integer, nullable=False, default=0),
    # The flow run that this row stands for in its parent; its state mirrors that run's.
    Column("child_flow_run_id", Id),
    *_state_columns(),
    # Task runs are the many: without a hidden row number each costs one index entry less.
    sqlite_with_rowid=False,
)

journals = Table(
    "journals",
    metadata,
    Column("id", Id, primary_key=True),
    # Bytes held: always a line's end.
    Column("offset", BigInteger, nullable=False),
    Column("opened_us", Moment, nullable=False),
    Column("last_seen_us", Moment, nullable=False),
    # Whether somebody keeps its lease alive by polling for commands; an embedded journal has none.
    Column("leased", Boolean, nullable=False, default=False),
    Column("attempt", Integer, nullable=False, default=1),
    Column("host", Text),
    Column("pid", BigInteger),
    Column("closed_us", Moment),
    # Ids of runs that are presumed lost, {"flow_runs": [...], "task_runs": [...]}; NULL when none are.
    Column("presumed", Json),
    # Records that its writer lost, and lines that could not be taken.
    Column("missing", BigInteger, nullable=False, default=0),
    Column("torn", BigInteger, nullable=False, default=0),
    Column("header", Json),
    # Who claimed the attempt that is to be written down here: one life of a worker, by id, and its name.
    Column("worker_id", Id),
    Column("worker_name", Text),
)

commands = Table(
    "commands",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("journal_id", Id, nullable=False),
    Column("action", String(100), nullable=False),
    Column("flow_run_id", Id, nullable=False),
    Column("who", Text),
    Column("asked_us", Moment, nullable=False),
    # When it reached the supervisor, by the supervisor's clock.
    Column("acknowledged_us", Moment),
    # What goes with it, any JSON.
    Column("payload", Json),
    sqlite_autoincrement=True,  # an id is never used twice: pollers ask for what is newer than the last
)

log_chunks = Table(
    "log_chunks",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("flow_run_id", Id),
    # The task run all lines belong to; NULL when they differ or belong to the flow run itself.
    Column("task_run_id", Id),
    # Whose lines they are, which makes their ids; NULL for lines that a foreign client sent.
    Column("journal_id", Id),
    Column("first_us", Moment, nullable=False),
    Column("last_us", Moment, nullable=False),
    Column("min_level", Integer, nullable=False),
    Column("max_level", Integer, nullable=False),
    Column("lines", Integer, nullable=False),
    # Compressed columns of JSON; see store/logs.py.
    Column("data", LargeBinary, nullable=False),
    info={"partition_by": "RANGE (id)"},  # PostgreSQL's ids tell the time; see store/partitions.py
)

flow_run_inputs = Table(
    "flow_run_inputs",
    metadata,
    Column("flow_run_id", Id, ForeignKey("flow_runs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(500), primary_key=True),
    Column("id", Id, nullable=False),
    Column("value", Text, nullable=False),
    Column("sender", Text),
    Column("created_us", Moment, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("occurred_us", Moment, nullable=False),
    Column("received_us", Moment, nullable=False),
    Column("event", String(500), nullable=False),
    Column("resource_id", String(500), nullable=False),
    Column("flow_run_id", Id),
    Column("payload", Json),
    info={"partition_by": "RANGE (id)"},  # as above; who gives events ids of his own finds them in ``rest``
)

work_pools = Table(
    "work_pools",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("created_us", Moment, nullable=False),
    Column("updated_us", Moment, nullable=False),
    Column("description", Text),
    Column("base_job_template", Json),
    Column("storage_configuration", Json),
    Column("is_paused", Boolean, nullable=False, default=False),
    Column("concurrency_limit", Integer),
    # No foreign key: the queue names its pool, and two keys in a circle could not be inserted one by one.
    Column("default_queue_id", Id, nullable=False),
)

work_queues = Table(
    "work_queues",
    metadata,
    Column("id", Id, primary_key=True),
    Column("work_pool_id", Id, ForeignKey("work_pools.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_us", Moment, nullable=False),
    Column("updated_us", Moment, nullable=False),
    Column("description", Text),
    # 1 is served first; no two queues of a pool have the same.
    Column("priority", Integer, nullable=False),
    Column("is_paused", Boolean, nullable=False, default=False),
    Column("concurrency_limit", Integer),
    Column("filter", Json),
    # When a worker last asked for its runs.
    Column("last_polled_us", Moment),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("work_pool_id", Id, ForeignKey("work_pools.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_us", Moment, nullable=False),
    Column("last_heartbeat_us", Moment, nullable=False),
    # NULL: as often as is usual; see store/readiness.py.
    Column("heartbeat_interval_s", Integer),
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", Id, primary_key=True),
    Column("flow_id", Id, ForeignKey("flows.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_us", Moment, nullable=False),
    Column("updated_us", Moment, nullable=False),
    Column("version", Text),
    Column("description", Text),
    Column("tags", Json),
    Column("labels", Json),
    Column("parameters", Json),
    Column("parameter_openapi_schema", Json),
    Column("enforce_parameter_schema", Boolean, nullable=False, default=True),
    # Where its code is: a path, `file.py:function` within it, and the steps that fetch it.
    Column("path", Text),
    Column("entrypoint", Text),
    Column("pull_steps", Json),
    Column("storage_document_id", Id),
    Column("infrastructure_document_id", Id),
    Column("job_variables", Json),
    # NULL for one that serves itself.
    Column("work_queue_id", Id, ForeignKey("work_queues.id", ondelete="SET NULL")),
    Column("paused", Boolean, nullable=False, default=False),
    # How many of its runs may live at once, and what happens to one more: {"collision_strategy", ...}.
    Column("concurrency_limit", Integer),
    Column("concurrency_options", Json),
    # When somebody who serves it last asked for its runs.
    Column("last_polled_us", Moment),
    # After so many crashes within so many seconds it is paused: {"crashes", "seconds"}; NULL: as is usual.
    Column("crash_brake", Json),
    # When its runs crashed lately (microseconds), and why it was paused if the brake did it.
    Column("crashes_us", Json),
    Column("pause_reason", Text),
)

deployment_schedules = Table(
    "deployment_schedules",
    metadata,
    Column("id", Id, primary_key=True),
    Column("deployment_id", Id, ForeignKey("deployments.id", ondelete="CASCADE"), nullable=False),
    Column("created_us", Moment, nullable=False),
    Column("updated_us", Moment, nullable=False),
    # The contract's object: {"cron", ...}, {"interval", ...} or {"rrule", ...}.
    Column("schedule", Json, nullable=False),
    Column("active", Boolean, nullable=False, default=True),
    # How many of its runs may be planned at once; NULL: as many as the scheduler likes.
    Column("max_scheduled_runs", Integer),
    Column("parameters", Json),
    Column("slug", Text),
    # Up to when its times were planned, or passed over.
    Column("planned_until_us", Moment),
)

leases = Table(
    "leases",
    metadata,
    # A loop that only one server at a time may turn.
    Column("name", String(100), primary_key=True),
    Column("holder", Text, nullable=False),
    # Grows with every new holder; what an older one still writes is refused by it.
    Column("fence", BigInteger, nullable=False),
    Column("until_us", Moment, nullable=False),
)

began_us = func.coalesce(flow_runs.c.start_us, flow_runs.c.expected_start_us)
"""When a flow run began or is to begin: what START_TIME sorts by. Write it so and the index serves."""


rare_task_runs = task_runs.c.state_type != literal_column("'COMPLETED'")
"""Task runs that are not Completed, in the one form by which both databases know that ``ix_task_runs_rare`` serves."""


def _partial(
    name: str, *columns: ColumnElement[Any], where: ColumnElement[bool], unique: bool = False
) -> None:
    """Declare an index of some rows. ``store/postgres.py`` tells PostgreSQL of it: its words would load its dialect."""
    Index(name, *columns, unique=unique, sqlite_where=where, info={"where": where})


def walking(statement: S, table: Table, index: str) -> S:
    """Return a SELECT that walks this index on SQLite, which plans without knowing what is in a table.

    Between two indexes that look alike to it, it may take the one by which a million rows are read. PostgreSQL counts
    what is there, and needs no such word.
    """
    return statement.with_hint(table, f"INDEXED BY {index}", "sqlite")


_r = flow_runs.c
# ID_DESC with a filter on the type or the name of the state; without one it walks the primary key.
Index("ix_flow_runs_state_type_id", _r.state_type, _r.id)
Index("ix_flow_runs_state_name_id", _r.state_name, _r.id)
# START_TIME_ASC and START_TIME_DESC: without a filter, by type of state, by name of state, and of one flow.
Index("ix_flow_runs_began", began_us)
Index("ix_flow_runs_state_type_began", _r.state_type, began_us)
Index("ix_flow_runs_state_name_began", _r.state_name, began_us)
Index("ix_flow_runs_flow_id_began", _r.flow_id, began_us)
# EXPECTED_START_TIME_*, likewise (also: what is due).
Index("ix_flow_runs_expected_start", _r.expected_start_us)
Index("ix_flow_runs_state_type_expected_start", _r.state_type, _r.expected_start_us)
Index("ix_flow_runs_state_name_expected_start", _r.state_name, _r.expected_start_us)
# END_TIME_DESC, without a filter, by type and by name of state; open runs are not listed by their end.
_partial("ix_flow_runs_end", _r.end_us, where=_r.end_us.is_not(None))
_partial("ix_flow_runs_state_type_end", _r.state_type, _r.end_us, where=_r.end_us.is_not(None))
_partial("ix_flow_runs_state_name_end", _r.state_name, _r.end_us, where=_r.end_us.is_not(None))
# NAME_ASC, NAME_DESC and a run found by its name.
Index("ix_flow_runs_name", _r.name)
# Create-or-fetch with an idempotency key.
_partial(
    "uq_flow_runs_flow_id_idempotency_key",
    _r.flow_id,
    _r.idempotency_key,
    unique=True,
    where=_r.idempotency_key.is_not(None),
)
# The subflow behind a placeholder task run, and the children of a flow run.
_partial("ix_flow_runs_parent_task_run", _r.parent_task_run_id, where=_r.parent_task_run_id.is_not(None))
_partial("ix_flow_runs_parent_flow_run", _r.parent_flow_run_id, where=_r.parent_flow_run_id.is_not(None))
# The runs of a deployment.
_partial(
    "ix_flow_runs_deployment", _r.deployment_id, _r.expected_start_us, where=_r.deployment_id.is_not(None)
)
# Open runs of a journal: what a lapsed lease presumes lost.
_partial("ix_flow_runs_open", _r.journal_id, where=_r.end_us.is_(None))

_t = task_runs.c
# The task runs of a flow run. Without their ids: then PostgreSQL keeps each flow run's once, 50 bytes a task run less.
Index("ix_task_runs_flow_run", _t.flow_run_id)
# EXPECTED_START_TIME_DESC over all flow runs: `task-run ls`.
Index("ix_task_runs_expected_start", _t.expected_start_us)
# Create-or-fetch by a client that has no journal; the ids of a journal's task runs are unique by themselves.
_partial(
    "uq_task_runs_keys",
    _t.flow_run_id,
    _t.task_key,
    _t.dynamic_key,
    unique=True,
    where=_t.journal_id.is_(None) & _t.flow_run_id.is_not(None),
)
# Open runs of a journal: what a lapsed lease presumes lost, and `task-run ls --state running`.
_partial("ix_task_runs_open", _t.journal_id, where=_t.end_us.is_(None))
# What went otherwise than well: lists and counts of states that are rare, also of those begun since. See `store/filters.py`.
_partial("ix_task_runs_rare", _t.state_type, _t.expected_start_us, _t.start_us, where=rare_task_runs)

# The lease watch: journals whose lease may lapse.
_partial(
    "ix_journals_leased", journals.c.last_seen_us, where=journals.c.leased & journals.c.closed_us.is_(None)
)
# A supervisor's poll: what is newer than the last it saw.
Index("ix_commands_journal", commands.c.journal_id, commands.c.id)
Index("ix_commands_flow_run", commands.c.flow_run_id)  # what goes with a run that is deleted
# Logs of a flow run in time order, and of a task run that has no flow run.
Index("ix_log_chunks_flow_run", log_chunks.c.flow_run_id, log_chunks.c.first_us)
_partial("ix_log_chunks_task_run", log_chunks.c.task_run_id, where=log_chunks.c.task_run_id.is_not(None))
# Events in time order, and of one flow run.
Index("ix_events_occurred", events.c.occurred_us)
_partial(
    "ix_events_flow_run", events.c.flow_run_id, events.c.occurred_us, where=events.c.flow_run_id.is_not(None)
)

_q = work_queues.c
# The queues of a pool by name, and which is next; priorities change in one statement, so they are not unique here.
Index("uq_work_queues_work_pool_id_name", _q.work_pool_id, _q.name, unique=True)
# A worker's sign of life.
Index("uq_workers_work_pool_id_name", workers.c.work_pool_id, workers.c.name, unique=True)

_d = deployments.c
# Upsert and read by name.
Index("uq_deployments_flow_id_name", _d.flow_id, _d.name, unique=True)
# CREATED_DESC, UPDATED_DESC, NAME_ASC and NAME_DESC of a few thousand rows at most are sorted, not walked.
# The deployments of a queue.
_partial("ix_deployments_work_queue", _d.work_queue_id, where=_d.work_queue_id.is_not(None))
# The schedules of a deployment, and one by its slug.
Index("ix_deployment_schedules_deployment", deployment_schedules.c.deployment_id)
_partial(
    "uq_deployment_schedules_deployment_id_slug",
    deployment_schedules.c.deployment_id,
    deployment_schedules.c.slug,
    unique=True,
    where=deployment_schedules.c.slug.is_not(None),
)
# What a queue has to do, and how many of its runs live: its runs that have not ended.
_partial(
    "ix_flow_runs_work_queue",
    _r.work_queue_id,
    _r.state_type,
    _r.next_scheduled_us,
    where=_r.work_queue_id.is_not(None) & _r.end_us.is_(None),
)
# How many runs of a deployment live, of all that have not ended.
_partial(
    "ix_flow_runs_deployment_open",
    _r.deployment_id,
    _r.state_type,
    where=_r.deployment_id.is_not(None) & _r.end_us.is_(None),
)
# How many slots of a queue, and of a deployment, are taken.
_partial(
    "ix_flow_runs_queue_slots",
    _r.work_queue_id,
    where=_r.holds_slot & _r.work_queue_id.is_not(None),
)
_partial(
    "ix_flow_runs_deployment_slots",
    _r.deployment_id,
    where=_r.holds_slot & _r.deployment_id.is_not(None),
)
# What a worker claimed and has not begun.
_partial(
    "ix_journals_claimed",
    journals.c.worker_id,
    where=journals.c.worker_id.is_not(None) & (journals.c.offset == 0) & journals.c.closed_us.is_(None),
)
