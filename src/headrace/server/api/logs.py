"""Log lines over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from headrace.model.clock import from_datetime, iso
from headrace.server.store import logs
from headrace.wire.filters import LogFilter, Operator
from headrace.wire.shapes.logs import Log, LogCreate, LogQuery

from .answers import Json, page_size
from .body import StrictRoute
from .context import context

router = APIRouter(prefix="/logs", tags=["Logs"], route_class=StrictRoute)

Matches = Callable[[logs.LogLine], bool]


@router.post("/", status_code=201)
def create_logs(request: Request, body: list[LogCreate]) -> Response:
    """Keep lines of a client that writes no journal."""
    at = context(request)
    lines = [
        logs.LogLine(
            at.ids.new(moment),
            moment,
            line.level,
            line.name,
            line.message,
            str(line.flow_run_id) if line.flow_run_id else None,
            str(line.task_run_id) if line.task_run_id else None,
        )
        for line in body
        for moment in (from_datetime(line.timestamp),)
    ]
    at.database.write(lambda connection: logs.write(connection, lines))
    return Json(None, 201)


@router.post("/filter", response_model=list[Log])
def read_logs(request: Request, body: LogQuery | None = None) -> Response:
    """List log lines."""
    query = body or LogQuery()
    limit = page_size(query.limit)
    with context(request).database.read() as connection:
        found = logs.query(
            connection,
            wanted(query.logs),
            descending=query.sort.value == "TIMESTAMP_DESC",
            limit=limit,
            offset=query.offset,
        )
    return Json([line_json(line) for line in found])


def line_json(line: logs.LogLine) -> dict[str, object]:
    """Return the contract's object of a line."""
    moment = iso(line.t)
    return {
        "id": line.id,
        "created": moment,
        "updated": moment,
        "name": line.logger,
        "level": line.level,
        "message": line.message,
        "timestamp": moment,
        "flow_run_id": line.flow_run,
        "task_run_id": line.task_run,
    }


def wanted(f: LogFilter | None) -> logs.LogFilter:
    """Return which lines a filter asks for, in the store's words.

    Criteria joined by "or" cannot narrow the chunks that are opened: each line is asked.
    """
    if f is None:
        return logs.LogFilter()
    if f.operator is Operator.or_:
        parts = _criteria(f)
        return logs.LogFilter(where=(lambda line: any(part(line) for part in parts)) if parts else None)
    level, when, text = f.level, f.timestamp, f.text
    task = f.task_run_id
    return logs.LogFilter(
        flow_runs=_ids(f.flow_run_id.any_) if f.flow_run_id else None,
        task_runs=_ids(task.any_) if task else None,
        without_task_run=task.is_null_ if task else None,
        min_level=level.ge_ if level else None,
        max_level=level.le_ if level else None,
        after_us=from_datetime(when.after_) if when and when.after_ else None,
        before_us=from_datetime(when.before_) if when and when.before_ else None,
        where=says(text.query) if text else None,
    )


def says(query: str) -> Matches:
    """Return whether a line says all words of a query.

    Words are found in the message or the logger's name, whatever their case; ``-word`` and ``!word`` must
    not be found; "several words" in double quotes are looked for as they are.
    """
    needed, refused = _words(query.lower())

    def match(line: logs.LogLine) -> bool:
        text = f"{line.logger} {line.message}".lower()
        return all(word in text for word in needed) and not any(word in text for word in refused)

    return match


def _words(query: str) -> tuple[list[str], list[str]]:
    needed: list[str] = []
    refused: list[str] = []
    for number, part in enumerate(query.split('"')):
        for word in [part] if number % 2 else part.split():
            into = refused if word[:1] in "-!" and len(word) > 1 and not number % 2 else needed
            into.append(word[1:] if into is refused else word)
    return [word for word in needed if word], refused


def _ids(values: list[UUID] | None) -> list[str] | None:
    return None if values is None else [str(value) for value in values]


def _criteria(f: LogFilter) -> list[Matches]:
    parts: list[Matches] = []
    one = f.model_copy(update={"operator": Operator.and_})
    for name in ("level", "timestamp", "flow_run_id", "task_run_id", "text"):
        if getattr(f, name) is not None:
            alone = {other: None for other in LogFilter.model_fields if other not in (name, "operator")}
            parts.append(_matches(wanted(one.model_copy(update=alone))))
    return parts


def _matches(w: logs.LogFilter) -> Matches:
    flow_runs = None if w.flow_runs is None else frozenset(w.flow_runs)
    task_runs = None if w.task_runs is None else frozenset(w.task_runs)

    def match(line: logs.LogLine) -> bool:
        return (
            (flow_runs is None or line.flow_run in flow_runs)
            and (task_runs is None or line.task_run in task_runs)
            and (w.without_task_run is None or (line.task_run is None) == w.without_task_run)
            and (w.min_level is None or line.level >= w.min_level)
            and (w.max_level is None or line.level <= w.max_level)
            and (w.after_us is None or line.t >= w.after_us)
            and (w.before_us is None or line.t <= w.before_us)
            and (w.where is None or w.where(line))
        )

    return match
