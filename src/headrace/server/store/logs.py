"""Log lines, kept many in a row: a chunk is compressed and knows its bounds of time and level.

A chunk's data are columns of JSON, compressed: the same kind of thing beside its like packs best.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, bindparam, delete, insert, or_, select
from sqlalchemy.engine import Connection

from headrace.model.ids import made_at, state_id_at

from . import locks
from .partitions import DAY_US
from .streams import LOGS
from .tables import log_chunks, task_runs

CHUNK_LINES = 2_000
"""Lines in one chunk at most: opening one takes about a millisecond."""

CHUNK_BYTES = 1_000_000
"""About how much text one chunk holds at most; a single longer line is a chunk by itself."""

_SMALL = 200  # lines: a chunk of fewer is worth putting together with others
_MANY = 8  # chunks: fewer are left as they are
_MOST = 10_000  # chunks: more are not put together at once, and then stay as they are

_LEVEL = 5  # of zlib's: a quarter smaller than its fastest for 0.7 µs more a line; its default takes half as long again


class LogLine(NamedTuple):
    """One line of a run's log."""

    id: str
    t: int
    """Microseconds since 1970, UTC."""
    level: int
    logger: str
    message: str
    flow_run: str | None
    task_run: str | None


class Line(NamedTuple):
    """One line to be written; ``place`` is its byte offset in its journal, or its id where it has none."""

    t: int
    level: int
    logger: str
    message: str
    task_run: str | None
    place: int | str


class _Columns(msgspec.Struct, array_like=True):
    times: list[int]
    """Each from the one before, the first from the chunk's ``first_us``."""
    levels: list[int]
    loggers: list[str]
    logger_of: list[int]
    messages: list[str]
    task_runs: list[str]
    task_run_of: list[int]
    """-1: the flow run itself."""
    places: list[int | str]
    """Byte offsets, each from the one before; or ids."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Columns).decode


def chunks(flow_run: str | None, journal: str | None, lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``log_chunks`` that hold the lines of one flow run (or of none), in their order."""
    piece: list[Line] = []
    size = 0
    for line in lines:
        if piece and (len(piece) >= CHUNK_LINES or size > CHUNK_BYTES):
            yield _chunk(flow_run, journal, piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line.message)
    if piece:
        yield _chunk(flow_run, journal, piece)


def _chunk(flow_run: str | None, journal: str | None, lines: list[Line]) -> dict[str, Any]:
    times, levels, names, messages, tasks, places = zip(*lines, strict=True)
    first = min(times)
    loggers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    runs = {id: number for number, id in enumerate(dict.fromkeys(id for id in tasks if id is not None))}
    columns = _Columns(
        _deltas(times, first),
        list(levels),
        list(loggers),
        [loggers[name] for name in names],
        list(messages),
        list(runs),
        [-1 if id is None else runs[id] for id in tasks],
        list(_deltas(places, 0) if journal is not None else places),
    )
    return {
        "flow_run_id": flow_run,
        "task_run_id": tasks[0] if len(set(tasks)) == 1 else None,
        "journal_id": journal,
        "first_us": first,
        "last_us": max(times),
        "min_level": min(levels),
        "max_level": max(levels),
        "lines": len(lines),
        "data": zlib.compress(_encode(columns), _LEVEL),
    }


def _deltas(values: Sequence[int], start: int) -> list[int]:
    deltas = []
    for value in values:
        deltas.append(value - start)
        start = value
    return deltas


def insert_chunks(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert what :func:`chunks` made."""
    if rows:
        connection.execute(insert(log_chunks), rows)


def write(connection: Connection, lines: Iterable[LogLine]) -> None:
    """Keep lines that a client without a journal sent; each keeps its id."""
    by_run: dict[str | None, list[Line]] = {}
    for line in lines:
        by_run.setdefault(line.flow_run, []).append(
            Line(line.t, line.level, line.logger, line.message, line.task_run, line.id)
        )
    insert_chunks(connection, [row for run, some in by_run.items() for row in chunks(run, None, some)])


class LogFilter(NamedTuple):
    """Which lines are wanted; ``None`` restricts nothing. All bounds are inclusive."""

    flow_runs: Sequence[str] | None = None
    task_runs: Sequence[str] | None = None
    without_task_run: bool | None = None
    """``True``: only lines of flow runs themselves; ``False``: only those of task runs."""
    min_level: int | None = None
    max_level: int | None = None
    after_us: int | None = None
    before_us: int | None = None
    where: Callable[[LogLine], bool] | None = None
    """Anything else, asked of each line."""


def query(
    connection: Connection, wanted: LogFilter, *, descending: bool = False, limit: int = 200, offset: int = 0
) -> list[LogLine]:
    """Return the lines that ``wanted`` lets through in time order, from number ``offset`` on.

    Walks ``ix_log_chunks_flow_run``; opens only the chunks it needs.
    """
    if limit <= 0:
        return []
    found: list[LogLine] = []
    for line in _in_order(connection, wanted, descending, _Skip(offset)):
        found.append(line)
        if len(found) == limit:
            break
    return found


_Waiting = tuple[int, int, int, LogLine]
"""Time, then what keeps the order of lines of one moment (all negative when descending).

That is ``0, place in the journal``; for lines without a journal ``chunk, place in the chunk``.
"""


class _Skip:
    """How many lines are still to be passed over."""

    def __init__(self, count: int) -> None:
        self.count = count


def _in_order(connection: Connection, wanted: LogFilter, descending: bool, skip: _Skip) -> Iterator[LogLine]:
    """Yield lines in order by merging chunks, which may overlap in time."""
    sign = -1 if descending else 1
    waiting: list[_Waiting] = []
    metas = _metas(connection, wanted, descending)
    meta = next(metas, None)
    while meta is not None:
        following = next(metas, None)
        ends = meta.first_us if descending else meta.last_us
        following_begins = (
            None if following is None else following.last_us if descending else following.first_us
        )
        alone = not waiting and (following_begins is None or sign * ends < sign * following_begins)
        if alone and meta.lines <= skip.count and _wholly(meta, wanted):
            skip.count -= meta.lines
        else:
            group = meta.id if meta.journal_id is None else 0
            for place, line in _lines(connection, meta, wanted):
                heapq.heappush(waiting, (sign * line.t, sign * group, sign * place, line))
        yield from _ready(waiting, None if following_begins is None else sign * following_begins, skip)
        meta = following


def _ready(waiting: list[_Waiting], until: int | None, skip: _Skip) -> Iterator[LogLine]:
    """Yield what no later chunk can come before."""
    while waiting and (until is None or waiting[0][0] < until):
        line = heapq.heappop(waiting)[3]
        if skip.count:
            skip.count -= 1
        else:
            yield line


def _metas(connection: Connection, wanted: LogFilter, descending: bool) -> Iterator[Any]:
    c = log_chunks.c
    bounds: list[tuple[Any, Callable[[Any], ColumnElement[bool]]]] = [
        (wanted.min_level, c.max_level.__ge__),
        (wanted.max_level, c.min_level.__le__),
        (wanted.after_us, c.last_us.__ge__),
        (wanted.before_us, c.first_us.__le__),
        (wanted.flow_runs, c.flow_run_id.in_),
        (wanted.task_runs, _of_tasks),
    ]
    conditions = [condition(value) for value, condition in bounds if value is not None]
    order = (c.last_us.desc(), c.id.desc()) if descending else (c.first_us, c.id)
    columns = (
        c.id, c.flow_run_id, c.task_run_id, c.journal_id, c.first_us, c.last_us, c.min_level, c.max_level, c.lines,
    )  # fmt: skip
    yield from connection.execute(select(*columns).where(*conditions).order_by(*order))


def _of_tasks(ids: Sequence[str]) -> ColumnElement[bool]:
    parents = select(task_runs.c.flow_run_id).where(
        task_runs.c.id.in_(ids), task_runs.c.flow_run_id.is_not(None)
    )
    mixed = log_chunks.c.task_run_id.is_(None) & log_chunks.c.flow_run_id.in_(parents)
    return or_(log_chunks.c.task_run_id.in_(ids), mixed)


def _wholly(meta: Any, wanted: LogFilter) -> bool:
    """Say whether every line of a chunk is wanted, so that its lines need not be looked at to be counted."""
    return (
        wanted.where is None
        and wanted.without_task_run is None
        and (wanted.task_runs is None or meta.task_run_id is not None)
        and (wanted.min_level is None or meta.min_level >= wanted.min_level)
        and (wanted.max_level is None or meta.max_level <= wanted.max_level)
        and (wanted.after_us is None or meta.first_us >= wanted.after_us)
        and (wanted.before_us is None or meta.last_us <= wanted.before_us)
    )


def _lines(connection: Connection, meta: Any, wanted: LogFilter) -> Iterator[tuple[int, LogLine]]:
    data = connection.execute(select(log_chunks.c.data).where(log_chunks.c.id == meta.id)).scalar_one()
    tasks = None if wanted.task_runs is None else frozenset(wanted.task_runs)
    for place, line in _unpack(data, meta.first_us, meta.flow_run_id, meta.journal_id):
        if (
            (wanted.min_level is None or line.level >= wanted.min_level)
            and (wanted.max_level is None or line.level <= wanted.max_level)
            and (wanted.after_us is None or line.t >= wanted.after_us)
            and (wanted.before_us is None or line.t <= wanted.before_us)
            and (tasks is None or line.task_run in tasks)
            and (wanted.without_task_run is None or (line.task_run is None) == wanted.without_task_run)
            and (wanted.where is None or wanted.where(line))
        ):
            yield place, line


def _unpack(
    data: bytes, first_us: int, flow_run: str | None, journal: str | None
) -> Iterator[tuple[int, LogLine]]:
    """Yield ``(place, line)``; a place is a byte offset in the journal, or else the number in the chunk."""
    columns = _decode(zlib.decompress(data))
    t, place = first_us, 0
    for number, message in enumerate(columns.messages):
        t += columns.times[number]
        at = columns.places[number]
        place = place + at if isinstance(at, int) else number
        task = columns.task_run_of[number]
        yield (
            place,
            LogLine(
                at if isinstance(at, str) else state_id_at(journal or "", place),
                t,
                columns.levels[number],
                columns.loggers[columns.logger_of[number]],
                message,
                flow_run,
                None if task < 0 else columns.task_runs[task],
            ),
        )


_ANY_JOURNAL = "00000000-0000-0000-0000-000000000000"


def count_lines(data: bytes) -> int:
    """Return how many lines a chunk's data hold; raises what tells that they cannot be read."""
    return sum(1 for _ in _unpack(data, 0, None, _ANY_JOURNAL))


def compact(connection: Connection, runs: Sequence[tuple[str, str]]) -> None:
    """Put the small chunks of flow runs' logs together, given with their journals: what is logged slowly comes line by line.

    Walks ``ix_log_chunks_flow_run``, in partitions that there were when the journals were begun. For each run it opens a
    bounded number of chunks, about 0.1 s of work.
    """
    if not runs:
        return
    asked: dict[tuple[str, str], list[int]] = {run: [] for run in runs}
    for id, *run in _small_chunks(connection, runs):
        if (of := asked.get(tuple(run))) is not None and len(of) < CHUNK_LINES:
            of.append(id)
    many = {run: ids for run, ids in asked.items() if len(ids) >= _MANY}
    while sum(map(len, many.values())) > _MOST:
        many.popitem()
    if many:
        # all at once, so that they are locked in order
        locks.hold_to_delete(
            connection, log_chunks, log_chunks.c.id.in_([i for ids in many.values() for i in ids])
        )
    for (flow_run, journal), ids in many.items():
        _put_together(connection, flow_run, journal, ids)


def _small_chunks(connection: Connection, runs: Sequence[tuple[str, str]]) -> Iterable[Any]:
    wanted = {"of_runs": sorted({run for run, _ in runs})}
    begun_us = [made_at(journal) for _, journal in runs]
    if connection.dialect.name == "sqlite" or None in begun_us:
        return connection.execute(_small, wanted)
    since = LOGS.first_id(min(us for us in begun_us if us is not None) - DAY_US)
    return connection.execute(_small_since, {**wanted, "since": since})


def _put_together(connection: Connection, flow_run: str, journal: str, ids: Sequence[int]) -> None:
    c = log_chunks.c
    found = [
        (place, line)
        for row in connection.execute(select(c.first_us, c.data).where(c.id.in_(ids)))
        for place, line in _unpack(row.data, row.first_us, flow_run, journal)
    ]
    lines = [
        Line(one.t, one.level, one.logger, one.message, one.task_run, place) for place, one in sorted(found)
    ]
    connection.execute(delete(log_chunks).where(c.id.in_(ids)))
    insert_chunks(connection, list(chunks(flow_run, journal, lines)))


_small = (
    select(log_chunks.c.id, log_chunks.c.flow_run_id, log_chunks.c.journal_id)
    .where(log_chunks.c.flow_run_id.in_(bindparam("of_runs", expanding=True)), log_chunks.c.lines < _SMALL)
    .order_by(log_chunks.c.first_us)
)
_small_since = _small.where(log_chunks.c.id >= bindparam("since"))
