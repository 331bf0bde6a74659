"""Make room for claims, slots, planned times, the brake on crash loops, and leases of loops.

Frozen: what has been applied somewhere is never edited; a change is a new revision.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from headrace.server.store.columns import Id, Json

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, the table and the indexes."""
    op.add_column("flow_runs", sa.Column("schedule_id", Id()))
    op.add_column(
        "flow_runs", sa.Column("holds_slot", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.execute(
        "UPDATE flow_runs SET holds_slot = "
        + ("true" if op.get_bind().dialect.name == "postgresql" else "1")
        + " WHERE end_us IS NULL AND state_type IN ('PENDING', 'RUNNING', 'CANCELLING')"
    )
    op.add_column("commands", sa.Column("payload", Json()))
    op.add_column("journals", sa.Column("worker_id", Id()))
    op.add_column("journals", sa.Column("worker_name", sa.Text()))
    op.add_column("deployments", sa.Column("crash_brake", Json()))
    op.add_column("deployments", sa.Column("crashes_us", Json()))
    op.add_column("deployments", sa.Column("pause_reason", sa.Text()))
    op.add_column("deployment_schedules", sa.Column("planned_until_us", sa.BigInteger()))
    op.create_table(
        "leases",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    holds: sa.ColumnElement[bool] = sa.column("holds_slot", sa.Boolean())
    _partial("ix_flow_runs_queue_slots", "flow_runs", "work_queue_id", holds & _set("work_queue_id"))
    _partial("ix_flow_runs_deployment_slots", "flow_runs", "deployment_id", holds & _set("deployment_id"))
    _partial(
        "ix_journals_claimed",
        "journals",
        "worker_id",
        _set("worker_id") & (sa.column("offset") == 0) & sa.column("closed_us").is_(None),
    )


def _partial(name: str, table: str, column: str, where: sa.ColumnElement[bool]) -> None:
    op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)


def _set(name: str) -> sa.ColumnElement[bool]:
    return sa.column(name).is_not(None)
