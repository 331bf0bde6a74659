"""What keeps the tallies true: the database itself counts, whoever writes, copies, restores or deletes rows.

SQLite adds to a row for each kind of change; one transaction writes at a time there. PostgreSQL only ever adds rows,
which sum up to the count: nobody waits for anybody. ``tallies.py`` reads them and puts them together.
"""

from __future__ import annotations

HOUR_US = 3_600_000_000

NO_HOUR = -100_000_000
"""Stands for the hour of a time that is not known: before any that a date can hold."""

TABLES = ("flow_runs", "task_runs")


def statements(dialect: str) -> tuple[str, ...]:
    """Return what makes the table of tallies and its rules beside the tables of runs, in the words of a database."""
    return _SQLITE if dialect == "sqlite" else _POSTGRES


def _key(row: str) -> str:
    """Return the columns by which a row of runs is counted; ``row`` is its name with a dot, or nothing."""
    return (
        f"coalesce({row}state_type, ''), coalesce({row}expected_start_us / {HOUR_US}, {NO_HOUR}), "
        f"coalesce({row}start_us / {HOUR_US}, {NO_HOUR})"
    )


def _differs(no: str) -> str:
    """Return the condition that an update moves a row to another tally; ``no`` is "is not" of two values."""
    hours = (f"{{0}}.{name} / {HOUR_US}" for name in ("expected_start_us", "start_us"))
    return " OR ".join(
        f"{each.format('OLD')} {no} {each.format('NEW')}" for each in ("{0}.state_type", *hours)
    )


def _sqlite(table: str) -> tuple[str, ...]:
    is_flow = int(table == "flow_runs")

    def count(row: str, number: int) -> str:
        return (
            "INSERT INTO tallies (is_flow, state_type, expected_hour, start_hour, runs) "
            f"VALUES ({is_flow}, {_key(row)}, {number}) "
            "ON CONFLICT (is_flow, state_type, expected_hour, start_hour) DO UPDATE SET runs = runs + excluded.runs;"
        )

    return (
        f"CREATE TRIGGER tally_{table}_made AFTER INSERT ON {table} BEGIN {count('NEW.', 1)} END",
        f"CREATE TRIGGER tally_{table}_changed AFTER UPDATE OF state_type, expected_start_us, start_us ON {table} "
        f"WHEN {_differs('IS NOT')} BEGIN {count('OLD.', -1)} {count('NEW.', 1)} END",
        f"CREATE TRIGGER tally_{table}_gone AFTER DELETE ON {table} BEGIN {count('OLD.', -1)} END",
    )


_SQLITE = (
    "CREATE TABLE tallies (is_flow BOOLEAN NOT NULL, state_type VARCHAR(16) NOT NULL, "
    "expected_hour INTEGER NOT NULL, start_hour INTEGER NOT NULL, runs BIGINT NOT NULL, "
    "PRIMARY KEY (is_flow, state_type, expected_hour, start_hour)) WITHOUT ROWID",
    *(rule for table in TABLES for rule in _sqlite(table)),
)

# The functions find the tables where they were made, whoever calls, and keep their plans: to plan such a statement
# takes longer than to carry it out, and connections of ours plan each of theirs anew (`store/postgres.py`).
_SETTINGS = "SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan"

_INTO = "INSERT INTO tallies (is_flow, state_type, expected_hour, start_hour, runs)"

_IS_FLOW = "TG_ARGV[0]::boolean"


def _postgres(table: str) -> tuple[str, ...]:
    is_flow = str(table == "flow_runs").lower()
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
    f"{_INTO} SELECT {_IS_FLOW}, {_key('told.')}, TG_ARGV[1]::integer * count(*) FROM told GROUP BY 2, 3, 4; "
    "RETURN NULL; END $$",
    f"CREATE OR REPLACE FUNCTION tally_change() RETURNS trigger LANGUAGE plpgsql {_SETTINGS} AS $$ BEGIN "
    f"{_INTO} VALUES ({_IS_FLOW}, {_key('OLD.')}, -1), ({_IS_FLOW}, {_key('NEW.')}, 1); "
    "RETURN NULL; END $$",
    f"CREATE OR REPLACE FUNCTION tally_nothing() RETURNS trigger LANGUAGE plpgsql {_SETTINGS} AS $$ BEGIN "
    f"{_INTO} SELECT is_flow, state_type, expected_hour, start_hour, -sum(runs) FROM tallies "
    f"WHERE is_flow = {_IS_FLOW} GROUP BY 1, 2, 3, 4; RETURN NULL; END $$",
    *(rule for table in TABLES for rule in _postgres(table)),
)
