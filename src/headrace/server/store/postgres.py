"""What only PostgreSQL does so; ``store/sqlite.py`` holds the same names for SQLite."""

from __future__ import annotations

import math
import select as selecting
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, cast, create_engine, event, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT, Insert, array, insert
from sqlalchemy.engine import URL, Connection, ExceptionContext
from sqlalchemy.exc import InvalidatePoolError

from headrace.errors import SettingError

from . import turns
from .locks import SAID
from .tables import metadata

try:
    import psycopg
    from psycopg.types.string import TextLoader
except ImportError as error:  # the package, or the C library it works with
    raise SettingError(
        f"database_url names a PostgreSQL database, and its driver cannot be loaded ({error}). Install it with: "
        "pip install 'headrace[postgres]'"
    ) from error

for _table in metadata.tables.values():
    if "partition_by" in _table.info:
        _table.dialect_options["postgresql"]["partition_by"] = _table.info["partition_by"]
    for _index in _table.indexes:
        if "where" in _index.info:
            _index.dialect_options["postgresql"]["where"] = _index.info["where"]

ASKED_AFTER_S = 5.0
"""For how long a connection may lie unused before it is asked whether it is alive, when next it is needed."""

_USED = "headrace_used"
"""When a connection was last given back, by the monotonic clock."""

LEAST_CONNECTIONS = 6
"""Of a server: two that write, since writes that shared one would share its locks too, and four that read."""

POOLER = "pooler"
"""The part of a URL's query that names the mode of the pooler it leads to. It is ours, not the driver's."""

_PASSING = frozenset(
    ("40001", "40P01", "53300", "57P01", "57P02", "57P03", "55P03", "57014", "25006", "08P01")
)
"""Serialization failure, deadlock, too many connections; the server is told to end, crashed, or starts; a lock or a
statement took longer than is allowed; the server has become a standby; a pooler lost its server."""

_RACES = frozenset(("23505", "23503"))
"""A row of that key was made, or the row that was referred to was deleted, between our look and our write."""

_CONNECTING = {
    "connect_timeout": 10,
    "application_name": "headrace",
    # A plan that was made for an empty table reads the whole of it until PostgreSQL next counts its rows: a
    # new database took 600 task runs a second in its first minute, and 8,000 with a plan for each statement.
    "options": "-c plan_cache_mode=force_custom_plan",
}
"""What libpq is told unless the URL says otherwise; seconds."""

_BEHIND_POOLER = {"connect_timeout": 10, "application_name": "headrace", "prepare_threshold": None}
"""The same behind a pooler in transaction mode: what is prepared would be met by others, and not found again. Each
statement is planned anew then anyway, and ``options`` are more than such a pooler passes on."""

LOCK_TIMEOUT = "800ms"
"""How long a change of the tables waits for a table that somebody uses, before it lets go of all it has and begins anew.
Less than a second, PostgreSQL's ``deadlock_timeout``: with those who hold one table and want another, no order would help."""

LOCK_PATIENCE_S = 15.0
"""For how long it begins anew."""

STATEMENT_TIMEOUT = "1h"
"""How long one statement of such a change may take."""

_SCHEMA_LOCK = 0x6865616472616365
"""Advisory lock: whoever makes or changes the tables holds it. Any number that nobody else takes would do."""


def upsert(table: Table) -> Insert:
    """Return an INSERT that can be given ``on_conflict_do_*``."""
    return insert(table).execution_options(**{SAID: turns.of_insert(table, meets=True)})


def pool_sizes(connections: int) -> tuple[int, int]:
    """Return how many of so many connections write, each a transaction of its own, and how many read.

    Raises:
        SettingError: they are too few.
    """
    if connections < LEAST_CONNECTIONS:
        raise SettingError(
            f"database_connections is {connections}; a server on PostgreSQL needs {LEAST_CONNECTIONS} at least, a third of "
            "them to write."
        )
    return connections // 3, connections - connections // 3


def keeps_sessions(url: URL) -> bool:
    """Say whether a connection is one session of PostgreSQL, and not a pooler's, another one in each transaction."""
    return url.query.get(POOLER) != "transaction"


def open_engine(url: URL, *, writer: bool, pool_size: int, cache_kib: int) -> Engine:  # noqa: ARG001  # SQLite's cache
    """Return an engine; a reader's transactions see one moment and cannot write."""
    options = {} if writer else {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
    connecting = _CONNECTING if keeps_sessions(url) else _BEHIND_POOLER
    engine = create_engine(
        url.difference_update_query([POOLER]),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=60,
        connect_args={name: value for name, value in connecting.items() if name not in url.query},
        execution_options=options,
    )
    event.listen(engine, "handle_error", _give_up_what_is_out_of_step)
    event.listen(engine, "connect", _say_ids_as_text)
    _give_up_what_is_dead(engine)
    if writer:
        turns.watch(engine)
    return engine


def _say_ids_as_text(driver: Any, _record: Any) -> None:
    """Spare each id, of which a claimed run has seventeen, to be made an object and text again."""
    driver.adapters.register_loader("uuid", TextLoader)


def _give_up_what_is_dead(engine: Engine) -> None:
    """Give out no connection that PostgreSQL has ended, as far as that can be known before it is used.

    To ask it takes longer than most statements. So it is asked after a pause, and at once when something came that nobody
    has asked for: that it was terminated, as a rule.
    """

    @event.listens_for(engine, "checkin")
    def _back(_driver: Any, record: Any) -> None:
        record.info[_USED] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _out(driver: Any, record: Any, _proxy: Any) -> None:
        idle_s = time.monotonic() - record.info.get(_USED, math.inf)
        if idle_s < ASKED_AFTER_S and not _has_news(driver):
            return
        try:
            engine.dialect.do_ping(driver)
        except psycopg.Error as error:
            raise InvalidatePoolError("The connection was ended meanwhile.") from error


def _has_news(driver: Any) -> bool:
    """Say whether something is there to be read from a connection that waits for nothing."""
    if driver.closed:
        return True
    poll = selecting.poll()
    poll.register(driver.fileno(), selecting.POLLIN)
    return bool(poll.poll(0))


def _give_up_what_is_out_of_step(context: ExceptionContext) -> None:
    """Close a connection that is answered once more than it has asked, and take what it was doing for cut off."""
    if is_out_of_step(context.original_exception):
        context.is_disconnect = True


def is_out_of_step(error: BaseException | None) -> bool:
    """Say whether an answer came before its question: a pooler told that its server is gone, and was then asked on."""
    without_code = isinstance(error, psycopg.InternalError) and error.sqlstate is None
    return without_code and "results from command" in str(error)


def prepare_file(connection: Connection) -> None:
    """Do nothing: the server keeps its own files."""


def has_room_to_give(connection: Connection) -> bool:  # noqa: ARG001  # SQLite's
    """Return ``False``: autovacuum makes what is free ready for what comes next."""
    return False


def give_room(connection: Connection, enough: Callable[[], bool]) -> int:  # noqa: ARG001  # as above
    """Return 0; see :func:`has_room_to_give`."""
    return 0


def walk_indexes(connection: Connection) -> None:
    """Let what a transaction looks for be found by an index, whatever the planner takes for cheaper.

    It takes what is asked for to lie evenly in a table, and would read one from its beginning, where all is deleted
    already and not yet swept up.
    """
    ways = ("enable_seqscan", "enable_bitmapscan")
    connection.execute(select(*(func.set_config(name, "off", True) for name in ways)))


def broken(connection: Connection) -> Iterator[str]:  # noqa: ARG001  # as above
    """Yield nothing: PostgreSQL refuses what refers to nothing, and says so itself when it reads a damaged page."""
    return iter(())


def index_names(connection: Connection) -> set[str]:
    """Return the names of all indexes."""
    statement = "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
    return set(connection.exec_driver_sql(statement).scalars())


def table_bytes(connection: Connection) -> dict[str, int]:
    """Return what each table takes with its indexes and its partitions."""
    statement = (
        "SELECT t.relname, sum(pg_total_relation_size(c.oid))::bigint FROM pg_class AS c "
        "JOIN pg_class AS t ON t.oid = coalesce(pg_partition_root(c.oid), c.oid) "
        "WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace GROUP BY t.relname"
    )
    return {row[0]: row[1] for row in connection.exec_driver_sql(statement)}


def bytes_at_most(connection: Connection, names: Sequence[str]) -> int:
    """Return what these tables take, more than which their rows cannot."""
    sizes = table_bytes(connection)
    return sum(sizes.get(name, 0) for name in names)


def whole_bytes(connection: Connection) -> tuple[int, int]:
    """Return what the database takes on disk, and 0: it does not tell how much of it is free."""
    return connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one(), 0


def hold_schema(connection: Connection) -> None:
    """Let no other process make or change tables until the transaction ends, and wait for no table for long.

    Whoever waits to change a table keeps everybody else waiting for it who comes later, readers too. So a change
    lets go after :data:`LOCK_TIMEOUT`; a statement that makes an index of many rows may take its time, whatever
    the database's usual ``statement_timeout`` is.
    """
    connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
    for name, value in (("lock_timeout", LOCK_TIMEOUT), ("statement_timeout", STATEMENT_TIMEOUT)):
        connection.execute(select(func.set_config(name, value, True)))


def is_in_the_way(error: BaseException) -> bool:
    """Say whether a change of the tables met somebody who uses them: a lock was not had in time, or never would be."""
    return getattr(error, "sqlstate", None) in ("55P03", "40P01")


def is_busy(error: BaseException) -> bool:
    """Say whether an error of the driver passes by itself: a deadlock, a lost race, a connection that is gone."""
    if getattr(error, "sqlstate", None) in _PASSING:
        return True
    # What the driver says without the server (a connection refused, cut, timed out) has no code.
    lost = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    return (lost and not is_too_much(error)) or is_out_of_step(error)


def is_refused(error: BaseException) -> bool:
    """Say whether PostgreSQL's disk is full or fails."""
    return getattr(error, "sqlstate", None) in ("53100", "58030")


def is_race(error: BaseException) -> bool:
    """Say whether others may have come between what was read and what was written: one more try would see them."""
    return getattr(error, "sqlstate", None) in _RACES


def is_stale(error: BaseException) -> bool:
    """Say whether the connection leads to a server that does not write any more: it is a standby after a failover."""
    return getattr(error, "sqlstate", None) == "25006"


def why_unwritable(engine: Engine) -> str | None:
    """Say why nothing can be written, asked by a connection that writes; ``None``: it can be.

    A connection may be of a time when it was otherwise: what it says to the contrary is asked of a new one.
    """
    for _ in range(2):
        with engine.connect() as connection:
            statement = "SELECT current_setting('transaction_read_only') = 'on', pg_is_in_recovery()"
            only_read, standby = connection.exec_driver_sql(statement).one()
        if not only_read:
            return None
        engine.dispose()
    if standby:
        return (
            "PostgreSQL takes no writes: this server is a standby. Promote it, or name the one that writes."
        )
    return "PostgreSQL takes no writes: the database or its user is set to default_transaction_read_only."


def is_too_much(error: BaseException) -> bool:
    """Say whether a statement had more values than the protocol takes."""
    return isinstance(error, psycopg.OperationalError) and "number of parameters" in str(error)


def why_unusable(error: BaseException) -> str | None:
    """Return what keeps a database from being opened, and what to do; ``None``: it is none of the known reasons."""
    if not isinstance(error, psycopg.Error):
        return None
    said = " ".join(str(error).split())
    if error.sqlstate == "55P03":
        return (
            f"its tables could not be changed, because somebody uses them and did not let go in time ({said}). Nothing "
            "was changed. Try again when less is going on, or stop the servers and whoever has a transaction open "
            "(pg_stat_activity shows them)."
        )
    if "unsupported startup parameter" in said:
        return (
            f"{said.removesuffix('.')}. A pooler stands before it: write ?{POOLER}=transaction behind its URL in "
            "HEADRACE_DATABASE_URL, or, where the pooler keeps sessions, let it pass over the parameter "
            "(ignore_startup_parameters)."
        )
    return (
        f"{said.removesuffix('.')}. HEADRACE_DATABASE_URL names it: is PostgreSQL running there, does the database "
        "exist (createdb makes one), and may this user connect and make tables in it?"
    )


def tags_all(column: ColumnElement[Any], tags: Sequence[str]) -> ColumnElement[bool]:
    """Match rows that carry every one of ``tags``."""
    return cast(cast(column, TEXT), JSONB).op("?&")(cast(array(tags), ARRAY(TEXT)))


def tags_any(column: ColumnElement[Any], tags: Sequence[str]) -> ColumnElement[bool]:
    """Match rows that carry one of ``tags`` at least."""
    return cast(cast(column, TEXT), JSONB).op("?|")(cast(array(tags), ARRAY(TEXT)))


def tags_none(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Match rows without any tag."""
    return column.is_(None) | (func.jsonb_array_length(cast(cast(column, TEXT), JSONB)) == 0)
