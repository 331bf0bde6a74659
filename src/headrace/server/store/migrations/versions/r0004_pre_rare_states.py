"""Find task runs of rare states by an index, and keep the one by flow run small.

Frozen: what has been applied somewhere is never edited; a change is a new revision.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the indexes; rows and columns stay as they are."""
    op.drop_index("ix_task_runs_flow_run", "task_runs")
    op.create_index("ix_task_runs_flow_run", "task_runs", ["flow_run_id"])
    rare = sa.column("state_type") != sa.literal_column("'COMPLETED'")
    op.create_index(
        "ix_task_runs_rare",
        "task_runs",
        ["state_type", "expected_start_us", "start_us"],
        sqlite_where=rare,
        postgresql_where=rare,
    )
