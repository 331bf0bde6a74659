"""Which counts of runs the tallies tell: by type of state, of all time or by when runs started or were to.

Whole hours are summed from tallies; of the hours in which a time begins and ends rows are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from headrace.model.clock import from_datetime, to_datetime
from headrace.wire import filters as wire

from .tallies import Plan, Span, total
from .tally_rules import HOUR_US, NO_HOUR

_RunFilter = wire.FlowRunFilter | wire.TaskRunFilter
F = TypeVar("F", wire.FlowRunFilter, wire.TaskRunFilter)

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


def narrowed(filter: F, edge: Span) -> F:
    """Return the filter with the time of one edge in place of its own."""
    bounds = {"after_": _moment(edge.after_us), "before_": _moment(edge.before_us)}
    span = getattr(filter, edge.time).model_copy(update=bounds)
    return filter.model_copy(update={edge.time: span})


def _moment(us: int | None) -> datetime | None:
    return None if us is None else to_datetime(us)


def count(connection: Connection, filter: F | None, *, is_flow: bool, rows: Callable[[F | None], int]) -> int:
    """Return how many runs a filter lets through; ``rows`` counts rows, where there is no other way."""
    known = plan(filter)
    if known is None:
        return rows(filter)
    found = total(connection, known, is_flow=is_flow)
    for edge in known.edges:
        assert filter is not None
        found += rows(narrowed(filter, edge))
    return found
