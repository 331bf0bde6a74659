"""Which counts of runs the tallies tell: by type of state, of all time or by when runs started or were to.

Whole hours are summed from tallies; of the hours in which a time begins and ends rows are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.engine import Connection

from headrace.model.clock import from_datetime, to_datetime
from headrace.wire import filters as wire

from .filters import Scope
from .tallies import Plan, Span, expected_hours, total
from .tally_rules import HOUR_US, NO_HOUR

_RunFilter = wire.FlowRunFilter | wire.TaskRunFilter

_TIMES = ("start_time", "expected_start_time")


def plan(filter: _RunFilter | None) -> Plan | None:
    """Return how to count what a filter lets through; ``None`` when tallies do not tell."""
    if filter is None:
        return Plan(None, None)
    told = [
        name for name in type(filter).model_fields if name != "operator" and getattr(filter, name) is not None
    ]
    times = [name for name in told if name in _TIMES]
    if not {"state", *times}.issuperset(told) or len(times) > 1:
        return None
    if len(told) > 1 and filter.operator is wire.Operator.or_:
        return None
    types = _types(filter.state)
    if types is _UNTOLD:
        return None
    return _in_time(types, times[0], getattr(filter, times[0])) if times else Plan(types, None)


_UNTOLD = ("",)


def _types(state: wire.FlowRunFilterState | wire.TaskRunFilterState | None) -> tuple[str, ...] | None:
    """Return the types of states that a filter names, ``None`` for all, ``_UNTOLD`` when it asks for more."""
    if state is None or (state.type is None and state.name is None):
        return None
    if state.name is not None or state.type is None or getattr(state.type, "not_any_", None) is not None:
        return _UNTOLD
    return None if state.type.any_ is None else tuple(sorted({kind.value for kind in state.type.any_}))


def _in_time(types: tuple[str, ...] | None, time: str, span: Any) -> Plan | None:
    if getattr(span, "is_null_", None) is not None:
        return None
    after_us, before_us = (None if at is None else from_datetime(at) for at in (span.after_, span.before_))
    first, last = (None if at is None else at // HOUR_US for at in (after_us, before_us))
    if first is None and last is None:
        return Plan(types, None)
    if (first is not None and last is not None and first >= last) or min(first or 0, last or 0) < 0:
        return None  # no whole hour between them
    edges = []
    if first is not None:
        edges.append(Span(time, after_us, (first + 1) * HOUR_US - 1))
    if last is not None:
        edges.append(Span(time, last * HOUR_US, before_us))
    return Plan(types, Span(time, first if first is not None else NO_HOUR, last), tuple(edges))


def narrowed(filter: _RunFilter, *spans: Span) -> _RunFilter:
    """Return the filter with times in place of its own."""
    times = {}
    for time, after_us, before_us in spans:
        kind = _SPANS[type(filter)][time]
        times[time] = kind(after_=_moment(after_us), before_=_moment(before_us))
    return filter.model_copy(update={**times, "operator": wire.Operator.and_})


_SPANS: dict[type, dict[str, Any]] = {
    wire.FlowRunFilter: {
        "start_time": wire.FlowRunFilterStartTime,
        "expected_start_time": wire.FlowRunFilterExpectedStartTime,
    },
    wire.TaskRunFilter: {
        "start_time": wire.TaskRunFilterStartTime,
        "expected_start_time": wire.TaskRunFilterExpectedStartTime,
    },
}


def _moment(us: int | None) -> datetime | None:
    return None if us is None else to_datetime(us)


def count(
    connection: Connection,
    scope: Scope,
    kind: Literal["flow_runs", "task_runs"],
    rows: Callable[[Scope], int],
) -> int:
    """Return how many runs of a kind a scope lets through; ``rows`` counts rows, where there is no other way."""
    filter: _RunFilter | None = getattr(scope, kind)
    known = plan(filter) if scope == _only(kind, filter) else None
    if known is None:
        return rows(scope)
    is_flow = kind == "flow_runs"
    found = total(connection, known, is_flow=is_flow)
    for edge in known.edges:
        assert filter is not None
        spans = _reach(connection, known, edge, is_flow)
        found += rows(_only(kind, narrowed(filter, *spans))) if spans else 0
    return found


def _only(kind: str, filter: _RunFilter | None) -> Scope:
    return Scope()._replace(**{kind: filter})  # type: ignore[arg-type]  # of that kind


def _reach(connection: Connection, plan: Plan, edge: Span, is_flow: bool) -> tuple[Span, ...]:
    """Return the times within which rows of an edge are; nothing when there are none.

    No index finds task runs by when they started. So the tallies say for when those of the hour were planned.
    """
    if edge.time != "start_time":
        return (edge,)
    started_us = edge.after_us if edge.after_us is not None else edge.before_us
    hours = expected_hours(connection, plan, started_us or 0, is_flow=is_flow)
    if not hours or hours[0] == NO_HOUR:
        return (edge,) if hours else ()
    # Hour 0 holds what is less than an hour before it, too.
    first_us = hours[0] * HOUR_US if hours[0] > 0 else None
    return edge, Span("expected_start_time", first_us, (hours[-1] + 1) * HOUR_US - 1)
