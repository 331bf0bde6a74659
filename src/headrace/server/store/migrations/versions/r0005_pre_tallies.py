"""Let the database itself keep count of runs by state and hour.

Frozen: what has been applied somewhere is never edited; a change is a new revision.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and what keeps it true, then count what is there; rows of runs stay as they are."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE if is_sqlite else _POSTGRES:
        op.execute(statement)
    for table in ("flow_runs", "task_runs"):
        is_flow = str(table == "flow_runs").lower()
        op.execute(f"{_INTO} SELECT {is_flow}, {_key('')}, count(*) FROM {table} GROUP BY 2, 3, 4")


def _key(row: str) -> str:
    return (
        f"coalesce({row}state_type, ''), coalesce({row}expected_start_us / 3600000000, -100000000), "
        f"coalesce({row}start_us / 3600000000, -100000000)"
    )


_INTO = "INSERT INTO tallies (is_flow, state_type, expected_hour, start_hour, runs)"


def _differs(no: str) -> str:
    return (
        f"OLD.state_type {no} NEW.state_type"
        f" OR OLD.expected_start_us / 3600000000 {no} NEW.expected_start_us / 3600000000"
        f" OR OLD.start_us / 3600000000 {no} NEW.start_us / 3600000000"
    )


def _count(is_flow: int, row: str, number: int) -> str:
    return (
        f"{_INTO} VALUES ({is_flow}, {_key(row)}, {number}) "
        "ON CONFLICT (is_flow, state_type, expected_hour, start_hour) DO UPDATE SET runs = runs + excluded.runs;"
    )


def _sqlite(table: str, is_flow: int) -> tuple[str, ...]:
    more, less = _count(is_flow, "NEW.", 1), _count(is_flow, "OLD.", -1)
    return (
        f"CREATE TRIGGER tally_{table}_made AFTER INSERT ON {table} BEGIN {more} END",
        f"CREATE TRIGGER tally_{table}_changed AFTER UPDATE OF state_type, expected_start_us, start_us ON {table} "
        f"WHEN {_differs('IS NOT')} BEGIN {less} {more} END",
        f"CREATE TRIGGER tally_{table}_gone AFTER DELETE ON {table} BEGIN {less} END",
    )


_SQLITE = (
    "CREATE TABLE tallies (is_flow BOOLEAN NOT NULL, state_type VARCHAR(16) NOT NULL, "
    "expected_hour INTEGER NOT NULL, start_hour INTEGER NOT NULL, runs BIGINT NOT NULL, "
    "PRIMARY KEY (is_flow, state_type, expected_hour, start_hour)) WITHOUT ROWID",
    *_sqlite("flow_runs", 1),
    *_sqlite("task_runs", 0),
)

_SETTINGS = "SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan"


def _postgres(table: str, is_flow: str) -> tuple[str, ...]:
    return (
        f"CREATE TRIGGER tally_made AFTER INSERT ON {table} REFERENCING NEW TABLE AS told "
        f"FOR EACH STATEMENT EXECUTE FUNCTION tally_rows('{is_flow}', '1')",
        f"CREATE TRIGGER tally_changed AFTER UPDATE OF state_type, expected_start_us, start_us ON {table} "
        f"FOR EACH ROW WHEN ({_differs('IS DISTINCT FROM')}) EXECUTE FUNCTION tally_change('{is_flow}')",
        f"CREATE TRIGGER tally_gone AFTER DELETE ON {table} REFERENCING OLD TABLE AS told "
        f"FOR EACH STATEMENT EXECUTE FUNCTION tally_rows('{is_flow}', '-1')",
        f"CREATE TRIGGER tally_emptied AFTER TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION tally_nothing('{is_flow}')",
    )


_POSTGRES = (
    "CREATE TABLE tallies (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, is_flow BOOLEAN NOT NULL, "
    "state_type VARCHAR(16) NOT NULL, expected_hour INTEGER NOT NULL, start_hour INTEGER NOT NULL, "
    "runs BIGINT NOT NULL)",
    f"CREATE OR REPLACE FUNCTION tally_rows() RETURNS trigger LANGUAGE plpgsql {_SETTINGS} AS $$ BEGIN "
    f"{_INTO} SELECT TG_ARGV[0]::boolean, {_key('told.')}, TG_ARGV[1]::integer * count(*) FROM told GROUP BY 2, 3, 4; "
    "RETURN NULL; END $$",
    f"CREATE OR REPLACE FUNCTION tally_change() RETURNS trigger LANGUAGE plpgsql {_SETTINGS} AS $$ BEGIN "
    f"{_INTO} VALUES (TG_ARGV[0]::boolean, {_key('OLD.')}, -1), (TG_ARGV[0]::boolean, {_key('NEW.')}, 1); "
    "RETURN NULL; END $$",
    f"CREATE OR REPLACE FUNCTION tally_nothing() RETURNS trigger LANGUAGE plpgsql {_SETTINGS} AS $$ BEGIN "
    f"{_INTO} SELECT is_flow, state_type, expected_hour, start_hour, -sum(runs) FROM tallies "
    f"WHERE is_flow = TG_ARGV[0]::boolean GROUP BY 1, 2, 3, 4; RETURN NULL; END $$",
    *_postgres("flow_runs", "true"),
    *_postgres("task_runs", "false"),
)
