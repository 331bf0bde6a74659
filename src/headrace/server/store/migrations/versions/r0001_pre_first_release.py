"""Make the tables of the first release.

Frozen: what has been applied somewhere is never edited; a change is a new revision.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from headrace.server.store.columns import Id, Json

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table and index."""
    _make_flows()
    _make_flow_runs()
    _make_task_runs()
    _make_journals()
    _make_commands()
    _make_log_chunks()
    _make_flow_run_inputs()
    _make_events()


def _state_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("journal_id", Id()),
        sa.Column("state_type", sa.String(16)),
        sa.Column("state_name", sa.String(200)),
        sa.Column("state_us", sa.BigInteger()),
        sa.Column("state", sa.Text()),
        sa.Column("history", sa.Text()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("ord", sa.BigInteger(), nullable=False),
        sa.Column("run_count", sa.Integer(), nullable=False),
        sa.Column("expected_start_us", sa.BigInteger()),
        sa.Column("next_scheduled_us", sa.BigInteger()),
        sa.Column("start_us", sa.BigInteger()),
        sa.Column("end_us", sa.BigInteger()),
        sa.Column("running_us", sa.BigInteger(), nullable=False),
        sa.Column("running_since_us", sa.BigInteger()),
    ]


def _partial(
    name: str, table: str, columns: list[str], where: sa.ColumnElement[bool], unique: bool = False
) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _set(name: str) -> sa.ColumnElement[bool]:
    return sa.column(name).is_not(None)


def _unset(name: str) -> sa.ColumnElement[bool]:
    return sa.column(name).is_(None)


def _make_flows() -> None:
    op.create_table(
        "flows",
        sa.Column("id", Id(), nullable=False),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("tags", Json()),
        sa.Column("labels", Json()),
        sa.PrimaryKeyConstraint("id", name="pk_flows"),
        sa.UniqueConstraint("name", name="uq_flows_name"),
    )


def _make_flow_runs() -> None:
    op.create_table(
        "flow_runs",
        sa.Column("id", Id(), nullable=False),
        sa.Column("flow_id", Id(), nullable=False),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("flow_version", sa.Text()),
        sa.Column("parameters", Json()),
        sa.Column("context", Json()),
        sa.Column("empirical_policy", Json()),
        sa.Column("tags", Json()),
        sa.Column("labels", Json()),
        sa.Column("idempotency_key", sa.String(500)),
        sa.Column("parent_flow_run_id", Id()),
        sa.Column("parent_task_run_id", Id()),
        *_state_columns(),
        sa.Column("deployment_id", Id()),
        sa.Column("deployment_version", sa.Text()),
        sa.Column("work_pool_id", Id()),
        sa.Column("work_pool_name", sa.Text()),
        sa.Column("work_queue_id", Id()),
        sa.Column("work_queue_name", sa.Text()),
        sa.Column("job_variables", Json()),
        sa.Column("infrastructure_document_id", Id()),
        sa.Column("infrastructure_pid", sa.Text()),
        sa.Column("auto_scheduled", sa.Boolean(), nullable=False),
        sa.Column("created_by", Json()),
        sa.ForeignKeyConstraint(["flow_id"], ["flows.id"], name="fk_flow_runs_flow_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_flow_runs"),
    )
    began = sa.text("coalesce(start_us, expected_start_us)")
    op.create_index("ix_flow_runs_began", "flow_runs", [began])
    op.create_index("ix_flow_runs_flow_id_began", "flow_runs", ["flow_id", began])
    for column in ("state_type", "state_name"):
        op.create_index(f"ix_flow_runs_{column}_id", "flow_runs", [column, "id"])
        op.create_index(f"ix_flow_runs_{column}_began", "flow_runs", [column, began])
        op.create_index(f"ix_flow_runs_{column}_expected_start", "flow_runs", [column, "expected_start_us"])
    _partial("ix_flow_runs_state_type_end", "flow_runs", ["state_type", "end_us"], _set("end_us"))
    _partial("ix_flow_runs_state_name_end", "flow_runs", ["state_name", "end_us"], _set("end_us"))
    _partial(
        "ix_flow_runs_deployment", "flow_runs", ["deployment_id", "expected_start_us"], _set("deployment_id")
    )
    _partial("ix_flow_runs_end", "flow_runs", ["end_us"], _set("end_us"))
    op.create_index("ix_flow_runs_expected_start", "flow_runs", ["expected_start_us"])
    op.create_index("ix_flow_runs_name", "flow_runs", ["name"])
    _partial("ix_flow_runs_open", "flow_runs", ["journal_id"], _unset("end_us"))
    _partial("ix_flow_runs_parent_flow_run", "flow_runs", ["parent_flow_run_id"], _set("parent_flow_run_id"))
    _partial("ix_flow_runs_parent_task_run", "flow_runs", ["parent_task_run_id"], _set("parent_task_run_id"))
    _partial(
        "uq_flow_runs_flow_id_idempotency_key",
        "flow_runs",
        ["flow_id", "idempotency_key"],
        _set("idempotency_key"),
        unique=True,
    )


def _make_task_runs() -> None:
    op.create_table(
        "task_runs",
        sa.Column("id", Id(), nullable=False),
        sa.Column("flow_run_id", Id()),
        sa.Column("task_key", sa.String(500), nullable=False),
        sa.Column("dynamic_key", sa.String(500), nullable=False),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("task_version", sa.Text()),
        sa.Column("cache_key", sa.Text()),
        sa.Column("cache_expiration_us", sa.BigInteger()),
        sa.Column("task_inputs", Json()),
        sa.Column("empirical_policy", Json()),
        sa.Column("tags", Json()),
        sa.Column("labels", Json()),
        sa.Column("flow_run_run_count", sa.Integer(), nullable=False),
        sa.Column("child_flow_run_id", Id()),
        *_state_columns(),
        sa.PrimaryKeyConstraint("id", name="pk_task_runs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_task_runs_expected_start", "task_runs", ["expected_start_us"])
    op.create_index("ix_task_runs_flow_run", "task_runs", ["flow_run_id", "id"])
    _partial("ix_task_runs_open", "task_runs", ["journal_id"], _unset("end_us"))
    _partial(
        "uq_task_runs_keys",
        "task_runs",
        ["flow_run_id", "task_key", "dynamic_key"],
        _unset("journal_id") & _set("flow_run_id"),
        unique=True,
    )


def _make_journals() -> None:
    op.create_table(
        "journals",
        sa.Column("id", Id(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("opened_us", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_us", sa.BigInteger(), nullable=False),
        sa.Column("leased", sa.Boolean(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text()),
        sa.Column("pid", sa.BigInteger()),
        sa.Column("closed_us", sa.BigInteger()),
        sa.Column("presumed", Json()),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.Column("torn", sa.BigInteger(), nullable=False),
        sa.Column("header", Json()),
        sa.PrimaryKeyConstraint("id", name="pk_journals"),
    )
    _partial(
        "ix_journals_leased",
        "journals",
        ["last_seen_us"],
        sa.column("leased", sa.Boolean()) & _unset("closed_us"),
    )


def _make_commands() -> None:
    op.create_table(
        "commands",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("journal_id", Id(), nullable=False),
        sa.Column("action", sa.String(100), nullable=False),
        sa.Column("flow_run_id", Id(), nullable=False),
        sa.Column("who", sa.Text()),
        sa.Column("asked_us", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_commands"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_commands_journal", "commands", ["journal_id", "id"])


def _make_log_chunks() -> None:
    op.create_table(
        "log_chunks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("flow_run_id", Id()),
        sa.Column("task_run_id", Id()),
        sa.Column("journal_id", Id()),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.Column("min_level", sa.Integer(), nullable=False),
        sa.Column("max_level", sa.Integer(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_log_chunks"),
    )
    op.create_index("ix_log_chunks_flow_run", "log_chunks", ["flow_run_id", "first_us"])
    _partial("ix_log_chunks_task_run", "log_chunks", ["task_run_id"], _set("task_run_id"))


def _make_flow_run_inputs() -> None:
    op.create_table(
        "flow_run_inputs",
        sa.Column("flow_run_id", Id(), nullable=False),
        sa.Column("key", sa.String(500), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text()),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["flow_run_id"], ["flow_runs.id"], name="fk_flow_run_inputs_flow_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("flow_run_id", "key", name="pk_flow_run_inputs"),
    )


def _make_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", Id(), nullable=False),
        sa.Column("occurred_us", sa.BigInteger(), nullable=False),
        sa.Column("received_us", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.String(500), nullable=False),
        sa.Column("resource_id", sa.String(500), nullable=False),
        sa.Column("flow_run_id", Id()),
        sa.Column("payload", Json()),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    _partial("ix_events_flow_run", "events", ["flow_run_id", "occurred_us"], _set("flow_run_id"))
    op.create_index("ix_events_occurred", "events", ["occurred_us"])
