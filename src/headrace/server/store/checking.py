"""Whether a database is sound: the file, the tables, what refers to what, and what is packed inside the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Table, exists, func, inspect, select
from sqlalchemy.engine import Connection, RowMapping

from . import history, logs, schema, tallies
from .backup import known_revision
from .database import Database
from .tables import flow_runs, log_chunks, metadata, task_runs

_MOST = 20
"""Faults of one kind that are told one by one."""

_AT_ONCE = 500

_RUN = (
    "id", "created_us", "journal_id", "state_type", "state_name", "state_us", "state", "history", "attempt", "level",
    "ord", "run_count", "start_us", "end_us", "running_us",
)  # fmt: skip


class Findings(NamedTuple):
    """What a check came to."""

    revision: str
    rows: dict[str, int]
    """Of each table."""
    faults: list[str]
    """What must not be, a sentence each."""
    notes: list[str]
    """What may be and is good to know."""


def check(database: Database) -> Findings:
    """Read everything that a database holds; change nothing.

    Raises:
        DatabaseError: it has no tables of ours, those of a newer Headrace, or a copy into it is not finished.
    """
    with database.read() as connection:
        revision = known_revision(connection)
        faults = list(islice(database.kind.broken(connection), _MOST))
        notes = _of_the_revision(revision)
        if not schema.standing_of(connection).fits:
            return Findings(revision, {}, faults, notes)
        faults += missing(connection, database.kind.index_names)
        if faults:
            return Findings(revision, {}, faults, notes)
        rows = {
            str(table.name): connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }
        for table in (flow_runs, task_runs):
            faults += islice(_unreadable_runs(connection, table), _MOST)
        faults += islice(tallies.differences(connection), _MOST)
        faults += islice(_unreadable_chunks(connection), _MOST)
        return Findings(revision, rows, faults, notes + _notes(connection))


def _of_the_revision(revision: str) -> list[str]:
    if revision == schema.HEAD:
        return []
    what = (
        "a server upgrades it when it starts"
        if revision < schema.NEEDED
        else "`headrace server database upgrade --finish` does the rest when no older server works on it"
    )
    return [f"It is of revision {revision}, today's is {schema.HEAD}: {what}."]


def missing(connection: Connection, indexes_in: Callable[[Connection], set[str]]) -> list[str]:
    """Say which tables, columns and indexes of ours are not there."""
    found, faults = inspect(connection), []
    names, indexes = set(found.get_table_names()), indexes_in(connection)
    for table in (*metadata.sorted_tables, tallies.tallies):
        if table.name not in names:
            faults.append(f"The table {table.name} is missing.")
            continue
        columns = {column["name"] for column in found.get_columns(table.name)}
        faults += [
            f"The column {table.name}.{c.name} is missing." for c in table.columns if c.name not in columns
        ]
        faults += [f"The index {one.name} is missing." for one in table.indexes if one.name not in indexes]
    return sorted(faults)


def _each(connection: Connection, table: Table, columns: tuple[str, ...], size: int) -> Iterator[RowMapping]:
    after: Any = None
    while True:
        behind = () if after is None else (table.c.id > after,)
        statement = (
            select(*(table.c[name] for name in columns)).where(*behind).order_by(table.c.id).limit(size)
        )
        rows = connection.execute(statement).mappings().all()
        yield from rows
        if len(rows) < size:
            return
        after = rows[-1]["id"]


def _unreadable_runs(connection: Connection, table: Table) -> Iterator[str]:
    kind = str(table.name).replace("_", " ").removesuffix("s")
    for row in _each(connection, table, _RUN, _AT_ONCE):
        why = _why(_look_at_run, row, table is flow_runs)
        if why:
            yield f"The {kind} {row['id']}: {why}."


def _why(look: Callable[..., str], *arguments: Any) -> str:
    try:
        return look(*arguments)
    except Exception as error:  # noqa: BLE001  # whatever cannot be read is what is looked for
        return f"it cannot be read ({type(error).__name__}: {error})"


def _look_at_run(row: RowMapping, is_flow: bool) -> str:
    run = history.run_of(row, is_flow=is_flow)
    told = None if run.state is None else (run.state.type, run.state.name)
    if told != (None if row["state_type"] is None else (row["state_type"], row["state_name"])):
        return f"its history says {told}, its row {row['state_type']}"
    return ""


def _unreadable_chunks(connection: Connection) -> Iterator[str]:
    columns = ("id", "flow_run_id", "journal_id", "first_us", "lines", "data")
    for row in _each(connection, log_chunks, columns, 50):
        why = _why(_look_at_chunk, row)
        if why:
            yield f"The piece {row['id']} of the log of flow run {row['flow_run_id']}: {why}."


def _look_at_chunk(row: RowMapping) -> str:
    lines = logs.count_lines(row["data"])
    return "" if lines == row["lines"] else f"it holds {lines} lines, its row says {row['lines']}"


def _notes(connection: Connection) -> list[str]:
    """Tell of what is left of runs that were deleted while they ran: retention takes it when its time has come."""
    notes = []
    for table in (task_runs, log_chunks):
        has_run = exists().where(flow_runs.c.id == table.c.flow_run_id)
        left = select(func.count()).select_from(table).where(table.c.flow_run_id.is_not(None), ~has_run)
        count = connection.execute(left).scalar_one()
        if count:
            notes.append(f"{count} {table.name} belong to flow runs that were deleted.")
    return notes
