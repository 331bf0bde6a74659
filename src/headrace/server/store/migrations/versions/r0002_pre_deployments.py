"""Make the tables of work pools, work queues, workers, deployments and their schedules.

Frozen: what has been applied somewhere is never edited; a change is a new revision. Nothing of the revision
before is changed but for two indexes of runs that were given to a queue or deployed, of which there are none yet.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from headrace.server.store.columns import Id, Json

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table and index."""
    _make_work_pools()
    _make_work_queues()
    _make_workers()
    _make_deployments()
    _make_deployment_schedules()
    _partial(
        "ix_flow_runs_work_queue",
        "flow_runs",
        ["work_queue_id", "state_type", "next_scheduled_us"],
        _set("work_queue_id") & sa.column("end_us").is_(None),
    )
    _partial(
        "ix_flow_runs_deployment_open",
        "flow_runs",
        ["deployment_id", "state_type"],
        _set("deployment_id") & sa.column("end_us").is_(None),
    )


def _partial(
    name: str, table: str, columns: list[str], where: sa.ColumnElement[bool], unique: bool = False
) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _set(name: str) -> sa.ColumnElement[bool]:
    return sa.column(name).is_not(None)


def _make_work_pools() -> None:
    op.create_table(
        "work_pools",
        sa.Column("id", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("base_job_template", Json()),
        sa.Column("storage_configuration", Json()),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("concurrency_limit", sa.Integer()),
        sa.Column("default_queue_id", Id(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_work_pools"),
        sa.UniqueConstraint("name", name="uq_work_pools_name"),
    )


def _make_work_queues() -> None:
    op.create_table(
        "work_queues",
        sa.Column("id", Id(), nullable=False),
        sa.Column("work_pool_id", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("concurrency_limit", sa.Integer()),
        sa.Column("filter", Json()),
        sa.Column("last_polled_us", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["work_pool_id"], ["work_pools.id"], name="fk_work_queues_work_pool_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_work_queues"),
    )
    op.create_index("uq_work_queues_work_pool_id_name", "work_queues", ["work_pool_id", "name"], unique=True)


def _make_workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", Id(), nullable=False),
        sa.Column("work_pool_id", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("last_heartbeat_us", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_interval_s", sa.Integer()),
        sa.ForeignKeyConstraint(
            ["work_pool_id"], ["work_pools.id"], name="fk_workers_work_pool_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
    op.create_index("uq_workers_work_pool_id_name", "workers", ["work_pool_id", "name"], unique=True)


def _make_deployments() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", Id(), nullable=False),
        sa.Column("flow_id", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Text()),
        sa.Column("description", sa.Text()),
        sa.Column("tags", Json()),
        sa.Column("labels", Json()),
        sa.Column("parameters", Json()),
        sa.Column("parameter_openapi_schema", Json()),
        sa.Column("enforce_parameter_schema", sa.Boolean(), nullable=False),
        sa.Column("path", sa.Text()),
        sa.Column("entrypoint", sa.Text()),
        sa.Column("pull_steps", Json()),
        sa.Column("storage_document_id", Id()),
        sa.Column("infrastructure_document_id", Id()),
        sa.Column("job_variables", Json()),
        sa.Column("work_queue_id", Id()),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("concurrency_limit", sa.Integer()),
        sa.Column("concurrency_options", Json()),
        sa.Column("last_polled_us", sa.BigInteger()),
        sa.ForeignKeyConstraint(["flow_id"], ["flows.id"], name="fk_deployments_flow_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["work_queue_id"], ["work_queues.id"], name="fk_deployments_work_queue_id", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_deployments"),
    )
    op.create_index("uq_deployments_flow_id_name", "deployments", ["flow_id", "name"], unique=True)
    _partial("ix_deployments_work_queue", "deployments", ["work_queue_id"], _set("work_queue_id"))


def _make_deployment_schedules() -> None:
    op.create_table(
        "deployment_schedules",
        sa.Column("id", Id(), nullable=False),
        sa.Column("deployment_id", Id(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("schedule", Json(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("max_scheduled_runs", sa.Integer()),
        sa.Column("parameters", Json()),
        sa.Column("slug", sa.Text()),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name="fk_deployment_schedules_deployment_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_deployment_schedules"),
    )
    op.create_index("ix_deployment_schedules_deployment", "deployment_schedules", ["deployment_id"])
    _partial(
        "uq_deployment_schedules_deployment_id_slug",
        "deployment_schedules",
        ["deployment_id", "slug"],
        _set("slug"),
        unique=True,
    )
