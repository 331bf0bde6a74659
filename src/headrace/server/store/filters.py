"""The contract's filters, sorts and pages as SQL: the one place where a filter gets its meaning.

A list is asked for with a filter for each kind (:class:`Scope`). The kind's own filter speaks of its rows;
another kind's speaks of the rows that belong to them: ``flow_runs`` in a list of flows keeps the flows that
have such a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Select,
    and_,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.sql.elements import UnaryExpression

from headrace.model.clock import from_datetime
from headrace.model.states import TERMINAL, StateType
from headrace.wire import filters as wire

from .readiness import HEARTBEAT_S, MISSED_HEARTBEATS
from .tables import (
    began_us,
    deployments,
    flow_runs,
    flows,
    rare_task_runs,
    task_runs,
    work_pools,
    work_queues,
    workers,
)

Where = ColumnElement[bool]
Order = tuple[ColumnElement[Any] | UnaryExpression[Any], ...]


class Scope(NamedTuple):
    """The filters of one request, by kind; ``None`` restricts nothing."""

    flows: wire.FlowFilter | None = None
    flow_runs: wire.FlowRunFilter | None = None
    task_runs: wire.TaskRunFilter | None = None
    deployments: wire.DeploymentFilter | None = None
    work_pools: wire.WorkPoolFilter | None = None
    work_queues: wire.WorkQueueFilter | None = None


class Matcher:
    """Turn the filters of one request into conditions, in the words of one database."""

    def __init__(self, dialect: str) -> None:
        # imported only when used: a dialect of SQLAlchemy costs 30 ms
        self._tags: Any = import_module(f"{__package__}.{'sqlite' if dialect == 'sqlite' else 'postgres'}")

    def flows(self, scope: Scope) -> Where:
        """Return which flows are asked for."""
        parts: list[Where] = [] if scope.flows is None else [self._flow(scope.flows)]
        if scope.flow_runs is not None:
            runs = select(flow_runs.c.flow_id).where(self._flow_run(scope.flow_runs))
            parts.append(flows.c.id.in_(runs))
        if scope.task_runs is not None:
            runs = select(flow_runs.c.flow_id).where(
                flow_runs.c.id.in_(self._flow_runs_of_tasks(scope.task_runs))
            )
            parts.append(flows.c.id.in_(runs))
        own = [] if scope.deployments is None else [self._deployment(scope.deployments)]
        each = (*own, *_placed(deployments.c.work_queue_id, scope))
        parts.extend(flows.c.id.in_(select(deployments.c.flow_id).where(where)) for where in each)
        return and_(true(), *parts)

    def flow_runs(self, scope: Scope) -> Where:
        """Return which flow runs are asked for."""
        parts = self._flow_run_parts(scope)
        if scope.task_runs is not None:
            parts.append(flow_runs.c.id.in_(self._flow_runs_of_tasks(scope.task_runs)))
        return and_(true(), *parts)

    def task_runs(self, scope: Scope) -> Where:
        """Return which task runs are asked for."""
        parts: list[Where] = [] if scope.task_runs is None else [self._task_run(scope.task_runs)]
        runs = self._flow_run_parts(scope)
        if runs:
            parts.append(task_runs.c.flow_run_id.in_(select(flow_runs.c.id).where(and_(*runs))))
        elif _wants_rare(scope.task_runs):
            parts.append(rare_task_runs)  # it says no more, but lets `ix_task_runs_rare` serve
        return and_(true(), *parts)

    def deployments(self, scope: Scope) -> Where:
        """Return which deployments are asked for."""
        c = deployments.c
        parts: list[Where] = [] if scope.deployments is None else [self._deployment(scope.deployments)]
        if scope.flows is not None:
            parts.append(c.flow_id.in_(select(flows.c.id).where(self._flow(scope.flows))))
        deployed = flow_runs.c.deployment_id.is_not(None)
        if scope.flow_runs is not None:
            runs = select(flow_runs.c.deployment_id).where(deployed, self._flow_run(scope.flow_runs))
            parts.append(c.id.in_(runs))
        if scope.task_runs is not None:
            within = flow_runs.c.id.in_(self._flow_runs_of_tasks(scope.task_runs))
            parts.append(c.id.in_(select(flow_runs.c.deployment_id).where(deployed, within)))
        return and_(true(), *parts, *_placed(c.work_queue_id, scope))

    def _flow_run_parts(self, scope: Scope) -> list[Where]:
        c = flow_runs.c
        parts: list[Where] = [] if scope.flow_runs is None else [self._flow_run(scope.flow_runs)]
        if scope.flows is not None:
            parts.append(c.flow_id.in_(select(flows.c.id).where(self._flow(scope.flows))))
        if scope.deployments is not None:
            found = select(deployments.c.id).where(self._deployment(scope.deployments))
            parts.append(c.deployment_id.in_(found))
        return parts + _placed(c.work_queue_id, scope)

    def _flow_runs_of_tasks(self, filter: wire.TaskRunFilter) -> Select[Any]:
        within = task_runs.c.flow_run_id.is_not(None)
        return select(task_runs.c.flow_run_id).where(and_(within, self._task_run(filter)))

    def _flow(self, f: wire.FlowFilter) -> Where:
        c = flows.c
        return _joined(
            f,
            _on(_any_or_not, c.id, f.id),
            _on(_name, c.name, f.name),
            _on(self._tagged, c.tags, f.tags),
            _on(_deployed, c.id, f.deployment),
        )

    def _deployment(self, f: wire.DeploymentFilter) -> Where:
        c = deployments.c
        return _joined(
            f,
            _on(_any_or_not, c.id, f.id),
            _on(_name, c.name, f.name),
            _on(_named_like, None, f.flow_or_deployment_name),
            _on(_paused, c.paused, f.paused),
            _on(self._tagged, c.tags, f.tags),
            _on(_in_queues_named, c.work_queue_id, f.work_queue_name),
            _on(_limited, c.concurrency_limit, f.concurrency_limit),
        )

    def _flow_run(self, f: wire.FlowRunFilter) -> Where:
        c = flow_runs.c
        return _joined(
            f,
            _on(_any_or_not, c.id, f.id),
            _on(_name, c.name, f.name),
            _on(self._tagged, c.tags, f.tags),
            _on(_joined_any, c.deployment_id, f.deployment_id),
            _on(_joined_any, c.work_queue_name, f.work_queue_name),
            _on(_state, (c.state_type, c.state_name), f.state),
            _on(_any_or_not, c.flow_version, f.flow_version),
            _on(_started, c.start_us, f.start_time),
            _on(_span, c.end_us, f.end_time),
            _on(_span, c.expected_start_us, f.expected_start_time),
            _on(_span, c.next_scheduled_us, f.next_scheduled_start_time),
            _on(_joined_any, c.parent_flow_run_id, f.parent_flow_run_id),
            _on(_joined_any, c.parent_task_run_id, f.parent_task_run_id),
            _on(_any_or_not, c.idempotency_key, f.idempotency_key),
            _on(_created_by, c.created_by, f.created_by),
        )

    def _task_run(self, f: wire.TaskRunFilter) -> Where:
        c = task_runs.c
        return _joined(
            f,
            _on(_any_or_not, c.id, f.id),
            _on(_name, c.name, f.name),
            _on(self._tagged, c.tags, f.tags),
            _on(_task_state, (c.state_type, c.state_name), f.state),
            _on(_span, c.start_us, f.start_time),
            _on(_span, c.end_us, f.end_time),
            _on(_span, c.expected_start_us, f.expected_start_time),
            _on(_subflows, c.child_flow_run_id, f.subflow_runs),
            _on(_of_flow_run, c.flow_run_id, f.flow_run_id),
        )

    def _tagged(self, column: Column[Any], f: Any) -> Where:
        all_, any_ = f.all_, getattr(f, "any_", None)
        return _joined(
            f,
            None if all_ is None else (self._tags.tags_all(column, all_) if all_ else true()),
            None if any_ is None else (self._tags.tags_any(column, any_) if any_ else false()),
            _null_or_not(f.is_null_, self._tags.tags_none(column), ~self._tags.tags_none(column)),
        )


def _on(make: Callable[[Any, Any], Where], column: Any, filter: Any) -> Where | None:
    return None if filter is None else make(column, filter)


def _placed(queue: Column[Any], scope: Scope) -> list[Where]:
    """Return conditions on a column of work queues' ids: in which queues and pools it has to be."""
    c = work_queues.c
    parts: list[Where] = []
    if scope.work_queues is not None:
        parts.append(queue.in_(select(c.id).where(work_queue(scope.work_queues))))
    if scope.work_pools is not None:
        pools = select(work_pools.c.id).where(work_pool(scope.work_pools))
        parts.append(queue.in_(select(c.id).where(c.work_pool_id.in_(pools))))
    return parts


def work_pool(f: wire.WorkPoolFilter | None) -> Where:
    """Return which work pools are asked for."""
    if f is None:
        return true()
    c = work_pools.c
    return _joined(
        f,
        _on(_any_or_not, c.id, f.id),
        _on(_any_or_not, c.name, f.name),
        _on(_any_or_not, c.type, f.type),
    )


def work_queue(f: wire.WorkQueueFilter | None) -> Where:
    """Return which work queues are asked for."""
    c = work_queues.c
    return (
        true() if f is None else _joined(f, _on(_any_or_not, c.id, f.id), _on(_any_or_begins, c.name, f.name))
    )


def worker(f: wire.WorkerFilter | None, now_us: int) -> Where:
    """Return which workers are asked for."""
    if f is None:
        return true()
    beat = workers.c.last_heartbeat_us
    status = None if f.status is None else _is_status(online(now_us), f.status)
    return _joined(f, _on(_span, beat, f.last_heartbeat_time), status)


def online(now_us: int) -> Where:
    """Return which workers count as alive; ``readiness.worker_is_online`` in SQL."""
    c = workers.c
    return c.last_heartbeat_us >= now_us - func.coalesce(c.heartbeat_interval_s, HEARTBEAT_S) * _allowed_us


_allowed_us = literal(MISSED_HEARTBEATS * 1_000_000, BigInteger)


def _is_status(alive: Where, f: wire.WorkerFilterStatus) -> Where:
    def any_(statuses: list[wire.WorkerStatus]) -> Where:
        return or_(false(), *(alive if each is wire.WorkerStatus.ONLINE else ~alive for each in statuses))

    return _joined(
        f, None if f.any_ is None else any_(f.any_), None if f.not_any_ is None else ~any_(f.not_any_)
    )


def _joined(filter: Any, *parts: Where | None) -> Where:
    known = [part for part in parts if part is not None]
    if not known:
        return true()
    join = or_ if getattr(filter, "operator", None) == wire.Operator.or_ else and_
    return join(*known)


def _null_or_not(is_null: bool | None, null: Where, not_null: Where) -> Where | None:
    if is_null is None:
        return None
    return null if is_null else not_null


def _values(values: Sequence[Any]) -> list[str]:
    return [value.value if isinstance(value, StateType) else str(value) for value in values]


def _any(column: ColumnElement[Any], values: Sequence[Any] | None) -> Where | None:
    return None if values is None else column.in_(_values(values))


def _not_any(column: ColumnElement[Any], values: Sequence[Any] | None) -> Where | None:
    # a row without a value is none of them, which SQL's NOT IN would not say
    return None if values is None else or_(column.is_(None), column.not_in(_values(values)))


def _any_or_not(column: ColumnElement[Any], f: Any) -> Where:
    return _joined(f, _any(column, f.any_), _not_any(column, getattr(f, "not_any_", None)))


def _joined_any(column: Column[Any], f: Any) -> Where:
    null = _null_or_not(getattr(f, "is_null_", None), column.is_(None), column.is_not(None))
    return _joined(f, _any(column, f.any_), null)


def _name(column: Column[Any], f: Any) -> Where:
    like = None if f.like_ is None else column.icontains(f.like_, autoescape=True)
    return _joined(f, _any(column, f.any_), like)


def _span(column: Column[Any], f: Any) -> Where:
    return _joined(
        f,
        None if f.before_ is None else column <= from_datetime(f.before_),
        None if f.after_ is None else column >= from_datetime(f.after_),
        _null_or_not(getattr(f, "is_null_", None), column.is_(None), column.is_not(None)),
    )


def _started(column: Column[Any], f: Any) -> Where:
    """As :func:`_span`; it also says when a run began or is to begin, which is the same moment and has indexes."""
    bounds = [] if f.before_ is None else [began_us <= from_datetime(f.before_)]
    bounds += [] if f.after_ is None else [began_us >= from_datetime(f.after_)]
    return and_(_span(column, f), *bounds)


def _state(columns: tuple[ColumnElement[Any], ColumnElement[Any]], f: Any) -> Where:
    return _joined(f, _on(_any_or_not, columns[0], f.type), _on(_any_or_not, columns[1], f.name))


def _task_state(columns: tuple[ColumnElement[Any], ColumnElement[Any]], f: Any) -> Where:
    found = _state(columns, f)
    types = f.type.any_ if f.type is not None and f.operator is wire.Operator.and_ else None
    if types and not TERMINAL.intersection(_values(types)):
        # It says no more, but lets `ix_task_runs_open` serve: few of a million task runs are open. As a list of ids,
        # because SQLite prefers to walk all of them in the order that is asked for.
        open_ = task_runs.alias("open_task_runs")
        return found & task_runs.c.id.in_(select(open_.c.id).where(open_.c.end_us.is_(None)))
    return found


def _wants_rare(f: wire.TaskRunFilter | None) -> bool:
    """Say whether nothing narrows the task runs as much as that they did not complete."""
    if f is None or f.operator is not wire.Operator.and_ or f.id is not None or f.flow_run_id is not None:
        return False
    state = f.state
    if state is None or state.type is None or state.operator is not wire.Operator.and_:
        return False
    types = set(_values(state.type.any_ or ()))
    return "COMPLETED" not in types and not TERMINAL.isdisjoint(types)  # for those that are open see above


def _created_by(column: Column[Any], f: wire.FlowRunFilterCreatedBy) -> Where:
    # nothing that makes runs has an id yet: schedules and automations will
    by = None if f.id_ is None and f.type_ is None else false()
    return _joined(f, by, _null_or_not(f.is_null_, column.is_(None), column.is_not(None)))


def _deployed(flow: Column[Any], f: wire.FlowFilterDeployment) -> Where:
    some = exists().where(deployments.c.flow_id == flow)
    return _joined(f, _null_or_not(f.is_null_, ~some, some))


def _named_like(_column: None, f: wire.DeploymentOrFlowNameFilter) -> Where:
    if f.like_ is None:
        return true()
    of_flows = select(flows.c.id).where(flows.c.name.icontains(f.like_, autoescape=True))
    c = deployments.c
    return or_(c.name.icontains(f.like_, autoescape=True), c.flow_id.in_(of_flows))


def _paused(column: Column[Any], f: wire.DeploymentFilterPaused) -> Where:
    return true() if f.eq_ is None else column.is_(f.eq_)


def _in_queues_named(queue: Column[Any], f: wire.DeploymentFilterWorkQueueName) -> Where:
    if f.any_ is None:
        return true()
    return queue.in_(select(work_queues.c.id).where(work_queues.c.name.in_(f.any_)))


def _limited(column: Column[Any], f: wire.DeploymentFilterConcurrencyLimit) -> Where:
    return _joined(
        f,
        None if f.ge_ is None else column >= f.ge_,
        None if f.le_ is None else column <= f.le_,
        _null_or_not(f.is_null_, column.is_(None), column.is_not(None)),
    )


def _any_or_begins(column: Column[Any], f: wire.WorkQueueFilterName) -> Where:
    begins = None
    if f.startswith_ is not None:
        begins = or_(false(), *(column.startswith(text, autoescape=True) for text in f.startswith_))
    return _joined(f, _any(column, f.any_), begins)


def _subflows(column: Column[Any], f: wire.TaskRunFilterSubFlowRuns) -> Where:
    exist = f.exists_
    return true() if exist is None else (column.is_not(None) if exist else column.is_(None))


def _of_flow_run(column: Column[Any], f: wire.TaskRunFilterFlowRunId) -> Where:
    # `is_null_` is false unless said: joined by "or", only what was said can count
    said = f.operator is wire.Operator.and_ or "is_null_" in f.model_fields_set
    null = _null_or_not(f.is_null_, column.is_(None), column.is_not(None)) if said else None
    return _joined(f, _any(column, f.any_), null)


def flow_order(sort: str) -> Order:
    """Return the ORDER BY of a list of flows."""
    c = flows.c
    return {
        "CREATED_DESC": (c.created_us.desc(), c.id.desc()),
        "UPDATED_DESC": (c.updated_us.desc(), c.id.desc()),
        "NAME_ASC": (c.name.asc(),),
        "NAME_DESC": (c.name.desc(),),
    }[sort]


def deployment_order(sort: str) -> Order:
    """Return the ORDER BY of a list of deployments; the id decides between equals."""
    c = deployments.c
    return {
        "CREATED_DESC": (c.created_us.desc(), c.id.desc()),
        "UPDATED_DESC": (c.updated_us.desc(), c.id.desc()),
        "NAME_ASC": (c.name.asc(), c.id.asc()),
        "NAME_DESC": (c.name.desc(), c.id.desc()),
    }[sort]


def state_parts(f: wire.FlowRunFilter | None) -> list[Where]:
    """Return conditions that split what a filter of states lets through; fewer than two when it cannot be split.

    Each run fits one of them at most, and an index on the state serves each in order, as it cannot serve all.
    """
    c, state = flow_runs.c, f.state if f is not None else None
    if f is None or state is None or f.operator is wire.Operator.or_:
        return []
    either = state.operator is wire.Operator.or_
    leaves = [leaf for leaf in (state.type, state.name) if leaf is not None]
    if either and any(leaf.any_ is None or leaf.not_any_ is not None for leaf in leaves):
        return []  # runs in states that are not named fit, too
    types = sorted({kind.value for kind in (state.type and state.type.any_) or ()})
    names = sorted(set((state.name and state.name.any_) or ()))
    by_type: list[Where] = [c.state_type == kind for kind in types]
    by_name: list[Where] = [c.state_name == name for name in names]
    if not (types and names):
        return by_type or by_name
    if not either:
        return by_type
    return by_type + [where & c.state_type.not_in(types) for where in by_name]


def rare_parts(scope: Scope) -> list[Where]:
    """Return conditions as :func:`state_parts` does, of task runs for which ``ix_task_runs_rare`` serves."""
    f = scope.task_runs
    if scope != Scope(task_runs=f) or f is None or not _wants_rare(f):
        return []
    assert f.state is not None and f.state.type is not None
    return [task_runs.c.state_type == kind for kind in sorted(set(_values(f.state.type.any_ or ())))]


def flow_run_order(sort: str) -> Order:
    """Return the ORDER BY of a list of flow runs; the id decides between equals."""
    c = flow_runs.c
    return {
        "ID_DESC": (c.id.desc(),),
        "START_TIME_ASC": (began_us.asc(), c.id.asc()),
        "START_TIME_DESC": (began_us.desc(), c.id.desc()),
        "EXPECTED_START_TIME_ASC": (c.expected_start_us.asc(), c.id.asc()),
        "EXPECTED_START_TIME_DESC": (c.expected_start_us.desc(), c.id.desc()),
        "NAME_ASC": (c.name.asc(), c.id.asc()),
        "NAME_DESC": (c.name.desc(), c.id.desc()),
        "NEXT_SCHEDULED_START_TIME_ASC": (c.next_scheduled_us.asc().nulls_last(), c.id.asc()),
        # Asked of runs that have ended only. To name a place for the others would keep PostgreSQL from its indexes.
        "END_TIME_DESC": (c.end_us.desc(), c.id.desc()),
    }[sort]


def task_run_order(sort: str) -> Order:
    """Return the ORDER BY of a list of task runs; the id decides between equals."""
    c = task_runs.c
    return {
        "ID_DESC": (c.id.desc(),),
        "EXPECTED_START_TIME_ASC": (c.expected_start_us.asc(), c.id.asc()),
        "EXPECTED_START_TIME_DESC": (c.expected_start_us.desc(), c.id.desc()),
        "NAME_ASC": (c.name.asc(), c.id.asc()),
        "NAME_DESC": (c.name.desc(), c.id.desc()),
        "NEXT_SCHEDULED_START_TIME_ASC": (c.next_scheduled_us.asc().nulls_last(), c.id.asc()),
        "END_TIME_DESC": (c.end_us.desc().nulls_last(), c.id.desc()),
        "DURATION_DESC": (c.running_us.desc(), c.id.desc()),
        "DURATION_ASC": (c.running_us.asc(), c.id.asc()),
    }[sort]
