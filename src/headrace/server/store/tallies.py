"""How many runs are in which state and of which hour, so that nobody counts a million rows for a dashboard.

A row says how many runs of one state were to start in one hour and started in another; several may say it of the
same, and a row may hold less than nothing: what is true is their sum. ``tally_rules.py`` has the database write them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Integer,
    MetaData,
    String,
    Table,
    case,
    cast,
    delete,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.engine import Connection

from .tables import flow_runs, task_runs
from .tally_rules import HOUR_US, NO_HOUR, statements

# Not among the tables of `tables.py`: what is counted here follows from them, so it is neither backed up nor copied.
tallies = Table(
    "tallies",
    MetaData(),
    Column("is_flow", Boolean, nullable=False),
    Column("state_type", String(16), nullable=False),  # empty: none yet
    Column("expected_hour", Integer, nullable=False),
    Column("start_hour", Integer, nullable=False),
    Column("runs", BigInteger, nullable=False),
)

_c = tallies.c
_KEY = (_c.is_flow, _c.state_type, _c.expected_hour, _c.start_hour)

_HOURS: dict[str, ColumnElement[int]] = {
    "start_time": _c.start_hour,
    "expected_start_time": _c.expected_hour,
}


class Span(NamedTuple):
    """Runs that were to start, or started, within some time; the bounds belong to it."""

    time: str
    """``start_time`` or ``expected_start_time``."""
    after_us: int | None
    before_us: int | None


class Plan(NamedTuple):
    """How to count without reading every row: whole hours from tallies, the rest of the time from rows."""

    types: tuple[str, ...] | None
    """Of states; ``None``: whatever they are."""
    hours: Span | None
    """Hours since 1970 that are summed, its bounds excepted; ``None``: all there are."""
    edges: tuple[Span, ...] = ()
    """What of the time is no whole hour."""


def create(connection: Connection) -> None:
    """Make the table and its rules; the tables of runs are there and empty."""
    for statement in statements(connection.dialect.name):
        connection.execute(text(statement))


def drop(connection: Connection) -> None:
    """Remove the table, and its rules when the tables of runs are gone."""
    tallies.drop(connection, checkfirst=True)
    if connection.dialect.name != "sqlite":
        connection.execute(text("DROP FUNCTION IF EXISTS tally_rows, tally_change, tally_nothing"))


def total(connection: Connection, plan: Plan, *, is_flow: bool) -> int:
    """Return how many flow runs, or task runs, a plan sums up, its edges aside."""
    where = _told(plan, is_flow)
    if plan.hours is not None:
        hour = _HOURS[plan.hours.time]
        where += [] if plan.hours.after_us is None else [hour > plan.hours.after_us]
        where += [] if plan.hours.before_us is None else [hour < plan.hours.before_us]
    runs = cast(func.coalesce(func.sum(_c.runs), 0), BigInteger)
    return int(connection.execute(select(runs).where(*where)).scalar_one())


def expected_hours(connection: Connection, plan: Plan, started_us: int, *, is_flow: bool) -> list[int]:
    """Return for which hours those runs of a plan were planned that started in the hour of ``started_us``, in order."""
    where = (*_told(plan, is_flow), _c.start_hour == started_us // HOUR_US)
    found = select(_c.expected_hour).where(*where).group_by(_c.expected_hour).having(func.sum(_c.runs) > 0)
    return sorted(connection.execute(found).scalars())


def _told(plan: Plan, is_flow: bool) -> list[ColumnElement[bool]]:
    of_types = [] if plan.types is None else [_c.state_type.in_(plan.types)]
    return [_c.is_flow.is_(is_flow), *of_types]


def surplus(connection: Connection) -> int:
    """Return how many rows fewer would say the same."""
    each = select(func.count().label("rows"), func.sum(_c.runs).label("runs")).group_by(*_KEY).subquery()
    kept = case((each.c.runs == 0, 0), else_=1)
    found: int = connection.execute(
        select(cast(func.coalesce(func.sum(each.c.rows - kept), 0), BigInteger))
    ).scalar_one()
    return found


def compact(connection: Connection) -> None:
    """Put together the rows that speak of the same, and drop those that say nothing."""
    if connection.dialect.name == "sqlite":
        connection.execute(delete(tallies).where(_c.runs == 0))
    else:
        connection.execute(text(_COMPACT))


# In one statement: what somebody adds meanwhile is neither deleted nor summed.
_COMPACT = """
WITH many AS (
    SELECT is_flow, state_type, expected_hour, start_hour FROM tallies
    GROUP BY 1, 2, 3, 4 HAVING count(*) > 1 OR sum(runs) = 0
), gone AS (
    DELETE FROM tallies USING many
    WHERE tallies.is_flow = many.is_flow AND tallies.state_type = many.state_type
        AND tallies.expected_hour = many.expected_hour AND tallies.start_hour = many.start_hour
    RETURNING tallies.*
)
INSERT INTO tallies (is_flow, state_type, expected_hour, start_hour, runs)
SELECT is_flow, state_type, expected_hour, start_hour, sum(runs) FROM gone GROUP BY 1, 2, 3, 4 HAVING sum(runs) <> 0
"""


def differences(connection: Connection) -> Iterator[str]:
    """Yield where the tallies are not what there is, a sentence each. It reads every run."""
    for table in (flow_runs, task_runs):
        is_flow, said = table is flow_runs, table.name.replace("_", " ")
        key = _key_of(table)
        there = _counted(connection, select(*key, func.count()).group_by(*key))
        runs = cast(func.sum(_c.runs), BigInteger)
        told = _counted(
            connection, select(*_KEY[1:], runs).where(_c.is_flow.is_(is_flow)).group_by(*_KEY[1:])
        )
        for one in sorted(there.keys() | told.keys()):
            if there.get(one, 0) != told.get(one, 0):
                state, hour, _ = one
                yield (
                    f"The tallies say {told.get(one, 0)} {said} in state {state or 'none'} of hour {hour} since 1970, "
                    f"there are {there.get(one, 0)}. A backup that is restored counts anew."
                )


def _key_of(table: Table) -> tuple[ColumnElement[Any], ...]:
    c = table.c
    # Literals: PostgreSQL does not see that two parameters are the same number.
    hour_us: ColumnElement[int] = literal_column(str(HOUR_US), BigInteger)
    none: ColumnElement[int] = literal_column(str(NO_HOUR), BigInteger)
    hours = (func.coalesce(time // hour_us, none) for time in (c.expected_start_us, c.start_us))
    return (func.coalesce(c.state_type, literal_column("''")), *hours)


def _counted(connection: Connection, statement: Any) -> dict[tuple[Any, ...], int]:
    return {tuple(row[:3]): row[3] for row in connection.execute(statement) if row[3]}
