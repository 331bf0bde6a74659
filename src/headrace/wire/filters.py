"""What a list may be narrowed by: the contract's filter trees, as the client sends them.

A tree is a kind's filter (``FlowRunFilter``); its leaves hold operators (``any_``, ``after_``, ...). What is
absent or ``null`` restricts nothing. ``server/store/filters.py`` gives them their meaning.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.model.states import StateType

from .text import BigInt, Text


class Operator(str, Enum):
    """How the criteria of one filter are joined."""

    and_ = "and_"
    or_ = "or_"


class Criterion(BaseModel):
    """Base of every part of a filter: what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Joined(Criterion):
    """A criterion of several parts."""

    operator: Operator = Operator.and_


# Leaves. Each has the contract's name, because clients and generated documents call it so.


class _IdAny(Criterion):
    any_: list[UUID] | None = None


class _IdAnyOrNot(_IdAny):
    not_any_: list[UUID] | None = None


class _TextAny(Criterion):
    any_: list[Text] | None = None


class _TextAnyOrNot(_TextAny):
    not_any_: list[Text] | None = None


class _Name(_TextAny):
    like_: Text | None = None


class _Span(Criterion):
    before_: datetime | None = None
    after_: datetime | None = None


class _SpanOrNull(_Span):
    is_null_: bool | None = None


class _AllTags(Joined):
    all_: list[Text] | None = None
    is_null_: bool | None = None


class _AllOrAnyTags(_AllTags):
    any_: list[Text] | None = None


class _IdAnyOrNull(Joined):
    any_: list[UUID] | None = None
    is_null_: bool | None = None


# Flows


class FlowFilterId(_IdAnyOrNot):
    """By id."""


class FlowFilterDeployment(Joined):
    """By whether it has deployments."""

    is_null_: bool | None = None


class FlowFilterName(_Name):
    """By name."""


class FlowFilterTags(_AllTags):
    """By tags."""


class FlowFilter(Joined):
    """Which flows."""

    id: FlowFilterId | None = None
    deployment: FlowFilterDeployment | None = None
    name: FlowFilterName | None = None
    tags: FlowFilterTags | None = None


# Flow runs


class FlowRunFilterId(_IdAnyOrNot):
    """By id."""


class FlowRunFilterName(_Name):
    """By the run's name."""


class FlowRunFilterTags(_AllOrAnyTags):
    """By tags."""


class FlowRunFilterDeploymentId(_IdAnyOrNull):
    """By deployment."""


class FlowRunFilterWorkQueueName(Joined):
    """By work queue."""

    any_: list[Text] | None = None
    is_null_: bool | None = None


class FlowRunFilterStateType(Criterion):
    """By type of state."""

    any_: list[StateType] | None = None
    not_any_: list[StateType] | None = None


class FlowRunFilterStateName(_TextAnyOrNot):
    """By name of state."""


class FlowRunFilterState(Joined):
    """By state."""

    type: FlowRunFilterStateType | None = None
    name: FlowRunFilterStateName | None = None


class FlowRunFilterFlowVersion(_TextAny):
    """By the flow's version."""


class FlowRunFilterStartTime(_SpanOrNull):
    """By when it first ran."""


class FlowRunFilterEndTime(_SpanOrNull):
    """By when it ended."""


class FlowRunFilterExpectedStartTime(_Span):
    """By when it was to start."""


class FlowRunFilterNextScheduledStartTime(_Span):
    """By when it is to start next."""


class FlowRunFilterParentFlowRunId(Joined):
    """By the flow run that called it."""

    any_: list[UUID] | None = None


class FlowRunFilterParentTaskRunId(_IdAnyOrNull):
    """By the task run that stands for it in its parent."""


class FlowRunFilterIdempotencyKey(_TextAnyOrNot):
    """By idempotency key."""


class FlowRunFilterCreatedBy(Joined):
    """By who made it."""

    id_: list[UUID] | None = None
    type_: list[Text] | None = None
    is_null_: bool | None = None


class FlowRunFilter(Joined):
    """Which flow runs."""

    id: FlowRunFilterId | None = None
    name: FlowRunFilterName | None = None
    tags: FlowRunFilterTags | None = None
    deployment_id: FlowRunFilterDeploymentId | None = None
    work_queue_name: FlowRunFilterWorkQueueName | None = None
    state: FlowRunFilterState | None = None
    flow_version: FlowRunFilterFlowVersion | None = None
    start_time: FlowRunFilterStartTime | None = None
    end_time: FlowRunFilterEndTime | None = None
    expected_start_time: FlowRunFilterExpectedStartTime | None = None
    next_scheduled_start_time: FlowRunFilterNextScheduledStartTime | None = None
    parent_flow_run_id: FlowRunFilterParentFlowRunId | None = None
    parent_task_run_id: FlowRunFilterParentTaskRunId | None = None
    idempotency_key: FlowRunFilterIdempotencyKey | None = None
    created_by: FlowRunFilterCreatedBy | None = None


# Task runs


class TaskRunFilterId(_IdAny):
    """By id."""


class TaskRunFilterName(_Name):
    """By the run's name."""


class TaskRunFilterTags(_AllTags):
    """By tags."""


class TaskRunFilterStateType(Criterion):
    """By type of state."""

    any_: list[StateType] | None = None


class TaskRunFilterStateName(_TextAny):
    """By name of state."""


class TaskRunFilterState(Joined):
    """By state."""

    type: TaskRunFilterStateType | None = None
    name: TaskRunFilterStateName | None = None


class TaskRunFilterSubFlowRuns(Criterion):
    """By whether it stands for a subflow's run."""

    exists_: bool | None = None


class TaskRunFilterStartTime(_SpanOrNull):
    """By when it first ran."""


class TaskRunFilterEndTime(_SpanOrNull):
    """By when it ended."""


class TaskRunFilterExpectedStartTime(_Span):
    """By when it was to start."""


class TaskRunFilterFlowRunId(Joined):
    """By the flow run it belongs to."""

    any_: list[UUID] | None = None
    is_null_: bool | None = False


class TaskRunFilter(Joined):
    """Which task runs."""

    id: TaskRunFilterId | None = None
    name: TaskRunFilterName | None = None
    tags: TaskRunFilterTags | None = None
    state: TaskRunFilterState | None = None
    start_time: TaskRunFilterStartTime | None = None
    end_time: TaskRunFilterEndTime | None = None
    expected_start_time: TaskRunFilterExpectedStartTime | None = None
    subflow_runs: TaskRunFilterSubFlowRuns | None = None
    flow_run_id: TaskRunFilterFlowRunId | None = None


# Deployments, work pools, work queues, workers


class DeploymentFilterId(_IdAnyOrNot):
    """By id."""


class DeploymentFilterName(_Name):
    """By name."""


class DeploymentOrFlowNameFilter(Criterion):
    """By the deployment's or its flow's name."""

    like_: Text | None = None


class DeploymentFilterPaused(Criterion):
    """By whether it is paused."""

    eq_: bool | None = None


class DeploymentFilterTags(_AllOrAnyTags):
    """By tags."""


class DeploymentFilterWorkQueueName(_TextAny):
    """By work queue."""


class DeploymentFilterConcurrencyLimit(Criterion):
    """By its limit of runs at once."""

    ge_: BigInt | None = None
    le_: BigInt | None = None
    is_null_: bool | None = None


class DeploymentFilter(Joined):
    """Which deployments."""

    id: DeploymentFilterId | None = None
    name: DeploymentFilterName | None = None
    flow_or_deployment_name: DeploymentOrFlowNameFilter | None = None
    paused: DeploymentFilterPaused | None = None
    tags: DeploymentFilterTags | None = None
    work_queue_name: DeploymentFilterWorkQueueName | None = None
    concurrency_limit: DeploymentFilterConcurrencyLimit | None = None


class WorkPoolFilterId(_IdAny):
    """By id."""


class WorkPoolFilterName(_TextAny):
    """By name."""


class WorkPoolFilterType(_TextAny):
    """By type."""


class WorkPoolFilter(Joined):
    """Which work pools."""

    id: WorkPoolFilterId | None = None
    name: WorkPoolFilterName | None = None
    type: WorkPoolFilterType | None = None


class WorkQueueFilterId(_IdAny):
    """By id."""


class WorkQueueFilterName(_TextAny):
    """By name, or by what it begins with."""

    startswith_: list[Text] | None = None


class WorkQueueFilter(Joined):
    """Which work queues."""

    id: WorkQueueFilterId | None = None
    name: WorkQueueFilterName | None = None


class WorkerStatus(str, Enum):
    """Whether a worker gives signs of life."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"


class WorkerFilterLastHeartbeatTime(_Span):
    """By its last sign of life."""


class WorkerFilterStatus(Criterion):
    """By whether it gives signs of life."""

    any_: list[WorkerStatus] | None = None
    not_any_: list[WorkerStatus] | None = None


class WorkerFilter(Joined):
    """Which workers."""

    last_heartbeat_time: WorkerFilterLastHeartbeatTime | None = None
    status: WorkerFilterStatus | None = None


# Logs


class LogFilterLevel(Criterion):
    """By level, as ``logging`` counts them."""

    ge_: BigInt | None = None
    le_: BigInt | None = None


class LogFilterTimestamp(_Span):
    """By time."""


class LogFilterFlowRunId(_IdAny):
    """By flow run."""


class LogFilterTaskRunId(Criterion):
    """By task run."""

    any_: list[UUID] | None = None
    is_null_: bool | None = None


class LogFilterTextSearch(Criterion):
    """By what the line says."""

    query: Text = Field(max_length=200)


class LogFilter(Joined):
    """Which log lines."""

    level: LogFilterLevel | None = None
    timestamp: LogFilterTimestamp | None = None
    flow_run_id: LogFilterFlowRunId | None = None
    task_run_id: LogFilterTaskRunId | None = None
    text: LogFilterTextSearch | None = None
