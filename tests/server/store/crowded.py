"""A PostgreSQL that has been in use for a while: enough rows, and in the shares that are usual, that its planner looks."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.engine import Connection

from ..journals import NOW

RUNS = 12_000
"""Flow runs, one a second; of each hundred some 92 are Completed, one goes on and three are planned."""

_ID = "CAST('0197a000-{kind}-7000-8000-' || lpad(to_hex({number}), 12, '0') AS uuid)"
_STARTED = f"({NOW} + CAST(n AS bigint) * 1000000)"


def _id(number: str, kind: str = "0000") -> str:
    """Return the expression of what :func:`tests.server.journals.an_id` makes."""
    return _ID.format(kind=kind, number=number)


_FEW = (
    f"INSERT INTO flows (id, name, created_us, updated_us) SELECT {_id('n')}, 'flow ' || n, 1, 1 FROM generate_series(1, 5) n",
    f"INSERT INTO work_pools (id, name, type, created_us, updated_us, is_paused, default_queue_id) "
    f"SELECT {_id('n')}, 'pool ' || n, 'process', 1, 1, false, {_id('n')} FROM generate_series(1, 2) n",
    f"INSERT INTO work_queues (id, work_pool_id, name, created_us, updated_us, priority, is_paused) "
    f"SELECT {_id('n')}, {_id('n % 2 + 1')}, 'queue ' || n, 1, 1, n, false FROM generate_series(1, 200) n",
    f"INSERT INTO deployments (id, flow_id, name, created_us, updated_us, enforce_parameter_schema, paused, work_queue_id) "
    f"SELECT {_id('n')}, {_id('n % 5 + 1')}, 'deployment ' || n, 1, 1, true, false, {_id('n / 7 % 200 + 1')} "
    "FROM generate_series(1, 400) n",
)

_RUNS = f"""
INSERT INTO flow_runs (
    id, flow_id, name, created_us, updated_us, journal_id, state_type, state_name, state_us, attempt, level, ord, run_count,
    running_us, expected_start_us, next_scheduled_us, start_us, end_us, deployment_id, work_pool_id, work_queue_id,
    schedule_id, auto_scheduled, holds_slot, idempotency_key, parent_flow_run_id, parent_task_run_id
)
SELECT
    {_id("n", "0001")}, {_id("n % 5 + 1")}, 'run ' || n, {_STARTED}, {_STARTED},
    CASE WHEN type <> 'SCHEDULED' THEN {_id("n", "000a")} END, type, name, {_STARTED} + 100, 1, 2, 1, 1,
    1000, {_STARTED} + ahead, CASE WHEN type = 'SCHEDULED' THEN {_STARTED} + ahead END,
    CASE WHEN type <> 'SCHEDULED' THEN {_STARTED} END, CASE WHEN is_over THEN {_STARTED} + 1000 END,
    {_id("n / 7 % 400 + 1")}, {_id("n % 2 + 1")}, {_id("n / 7 % 200 + 1")},
    CASE WHEN n % 2 = 0 THEN {_id("n / 7 % 400 + 1")} END, n % 2 = 0, type IN ('RUNNING', 'PENDING'),
    CASE WHEN n % 3 = 0 THEN 'key ' || n END, CASE WHEN n % 3 = 1 THEN {_id("n - 1", "0001")} END,
    CASE WHEN n % 3 = 1 THEN {_id("n", "0002")} END
FROM (
    SELECT n,
        CASE n % 100 WHEN 1 THEN 'RUNNING' WHEN 2 THEN 'SCHEDULED' WHEN 3 THEN 'SCHEDULED' WHEN 4 THEN 'SCHEDULED'
            WHEN 5 THEN 'CRASHED' WHEN 6 THEN 'FAILED' WHEN 7 THEN 'CANCELLED'
            WHEN 8 THEN CASE n % 3 WHEN 0 THEN 'PAUSED' WHEN 1 THEN 'PENDING' ELSE 'COMPLETED' END ELSE 'COMPLETED' END AS type,
        CASE n % 100 WHEN 1 THEN 'Running' WHEN 2 THEN 'Scheduled' WHEN 3 THEN 'Scheduled' WHEN 4 THEN 'Late'
            WHEN 5 THEN CASE n % 3 WHEN 1 THEN 'Lost' ELSE 'Crashed' END WHEN 6 THEN 'Failed' WHEN 7 THEN 'Cancelled'
            WHEN 8 THEN CASE n % 3 WHEN 0 THEN 'Paused' WHEN 1 THEN 'Pending' ELSE 'Completed' END ELSE 'Completed' END AS name,
        n % 100 = 0 OR n % 100 > 4 AND (n % 100 <> 8 OR n % 3 = 2) AS is_over,
        CASE WHEN n % 100 IN (2, 3) THEN {RUNS} * CAST(1000000 AS bigint) ELSE 0 END AS ahead
    FROM generate_series(1, {RUNS}) n
) AS drawn
"""

_MANY = (
    _RUNS,
    f"""
    INSERT INTO task_runs (
        id, flow_run_id, task_key, dynamic_key, name, created_us, journal_id, state_type, state_name, state_us, attempt, level,
        ord, run_count, running_us, expected_start_us, start_us, end_us, flow_run_run_count
    )
    SELECT {_id("n", "0002")}, {_id("n / 3 + 1", "0001")}, 'load', CAST(n AS text), 'load-' || n, {_STARTED}, {_id("n / 3 + 1", "000a")},
        CASE n % 200 WHEN 1 THEN 'RUNNING' WHEN 3 THEN 'FAILED' ELSE 'COMPLETED' END,
        CASE n % 200 WHEN 1 THEN 'Running' WHEN 3 THEN 'Failed' ELSE 'Completed' END,
        {_STARTED}, 1, 2, 1, 1, 1000, {_STARTED}, {_STARTED}, CASE WHEN n % 200 <> 1 THEN {_STARTED} + 1000 END, 1
    FROM generate_series(1, {3 * RUNS}) n
    """,
    f"""
    INSERT INTO journals (id, "offset", opened_us, last_seen_us, leased, attempt, closed_us, missing, torn, worker_id)
    SELECT {_id("n", "000a")}, CASE WHEN n % 300 = 1 THEN 0 ELSE 1000 END, {_STARTED}, {_STARTED}, n % 300 <> 1, 1,
        CASE WHEN n % 100 > 4 THEN {_STARTED} END, 0, 0, {_id("n % 7")}
    FROM generate_series(1, {RUNS}) n
    """,
    f"""
    INSERT INTO log_chunks (flow_run_id, first_us, last_us, min_level, max_level, lines, data)
    SELECT {_id("n / 2", "0001")}, {_STARTED}, {_STARTED}, 20, 20, 10, 'x' FROM generate_series(1, {2 * RUNS}) n
    """,
    f"""
    INSERT INTO commands (journal_id, action, flow_run_id, asked_us)
    SELECT {_id("n", "000a")}, 'cancel', {_id("n", "0001")}, {_STARTED} FROM generate_series(1, {RUNS // 2}) n
    """,
)


def crowd(connection: Connection) -> None:
    """Fill an empty PostgreSQL."""
    for statement in (*_FEW, *_MANY):
        connection.execute(text(statement))
