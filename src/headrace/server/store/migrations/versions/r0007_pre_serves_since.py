"""Let a database say which older code may still work on it.

Code of the revisions before asks for its own revision and no other, whatever is written here: the record begins with
this one.

Frozen: what has been applied somewhere is never edited; a change is a new revision.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column beside Alembic's own, and fill it in."""
    op.add_column("alembic_version", sa.Column("serves_since", sa.String(32)))
    op.execute("UPDATE alembic_version SET serves_since = '0007'")
