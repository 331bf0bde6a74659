"""Find the commands of a flow run by an index: retention deletes runs by slices, and read all commands for each.

Frozen: what has been applied somewhere is never edited; a change is a new revision.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index; commands are few, so it takes no time that counts."""
    op.create_index("ix_commands_flow_run", "commands", ["flow_run_id"])
