"""Keep log chunks and events in partitions on PostgreSQL, whose ids tell the time.

The tables that there are become the first partitions: no row is copied. They are read once, while others wait, so that
PostgreSQL knows what is in them; the text of log lines lies elsewhere and is not read. Older code goes on with it: it
inserts without naming an id, and finds rows by the names that it knows.

Frozen: what has been applied somewhere is never edited; a change is a new revision.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from alembic import op
from sqlalchemy import text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_DAY_US = 86_400_000_000
_AHEAD_DAYS = 3

_LOG_ID = "((extract(epoch FROM clock_timestamp()) * 1000000)::bigint << 10) | (nextval('log_chunks_id_seq') & 1023)"

_INDEXES = {
    "log_chunks": {
        "ix_log_chunks_flow_run": "(flow_run_id, first_us)",
        "ix_log_chunks_task_run": "(task_run_id) WHERE task_run_id IS NOT NULL",
    },
    "events": {
        "ix_events_flow_run": "(flow_run_id, occurred_us) WHERE flow_run_id IS NOT NULL",
        "ix_events_occurred": "(occurred_us)",
    },
}


def upgrade() -> None:
    """Make the partitioned tables in place of the others; SQLite has none, and stays as it is."""
    if op.get_bind().dialect.name == "sqlite":
        return
    now = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    today_us = op.get_bind().execute(now).scalar_one() // _DAY_US * _DAY_US
    _divide("log_chunks", today_us, lambda us: str(us << 10))
    op.execute("ALTER SEQUENCE log_chunks_id_seq OWNED BY log_chunks.id")
    for table in ("log_chunks", "log_chunks_first"):
        op.execute(f"ALTER TABLE {table} ALTER id SET DEFAULT {_LOG_ID}")
    _make_days("log_chunks", today_us, lambda us: str(us << 10))
    _divide("events", today_us, _first_uuid)
    _make_days("events", today_us, _first_uuid)


def _first_uuid(us: int) -> str:
    text = f"{us // 1000 << 80:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _divide(table: str, today_us: int, first_id: Callable[[int], str]) -> None:
    """Let a table become the first partition of another one of its name."""
    first = f"{table}_first"
    op.execute(f"ALTER TABLE {table} RENAME TO {first}")
    op.execute(f"ALTER INDEX pk_{table} RENAME TO {first}_pkey")
    for name, columns in _INDEXES[table].items():
        inside = columns[1 : columns.index(")")].replace(", ", "_")
        op.execute(f"ALTER INDEX {name} RENAME TO {first}_{inside}_idx")
    op.execute(f"CREATE TABLE {table} (LIKE {first} INCLUDING DEFAULTS) PARTITION BY RANGE (id)")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY (id)")
    for name, columns in _INDEXES[table].items():
        op.execute(f"CREATE INDEX {name} ON {table} {columns}")
    op.execute(_GRANTS.format(table=table, first=first))
    op.execute(
        f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ('{first_id(today_us)}')"
    )


# Whoever was allowed to use the table may use the one that bears its name now.
_GRANTS = """
DO $$ DECLARE one record; BEGIN
  FOR one IN
    SELECT privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS who,
      CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS more
    FROM pg_class, aclexplode(relacl) WHERE oid = '{first}'::regclass
  LOOP
    EXECUTE format('GRANT %s ON {table} TO %s%s', one.privilege_type, one.who, one.more);
  END LOOP;
END $$
"""


def _make_days(table: str, today_us: int, first_id: Callable[[int], str]) -> None:
    """Make the partitions of today and of the days to come, and the one for what fits nowhere."""
    op.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")
    for number in range(_AHEAD_DAYS + 1):
        start_us = today_us + number * _DAY_US
        day = datetime.fromtimestamp(start_us / 1e6, timezone.utc).strftime("%Y%m%d")
        op.execute(
            f"CREATE TABLE {table}_{day} PARTITION OF {table} "
            f"FOR VALUES FROM ('{first_id(start_us)}') TO ('{first_id(start_us + _DAY_US)}')"
        )
