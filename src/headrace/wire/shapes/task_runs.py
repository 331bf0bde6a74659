"""Task runs on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.model.states import StateType
from headrace.wire.filters import DeploymentFilter, FlowFilter, FlowRunFilter, TaskRunFilter
from headrace.wire.text import BigInt, Labels, Offset, Page, Query, Text

from .sorts import TaskRunSort
from .states import HistoryEntry, State, StateCreate


class TaskRunPolicy(BaseModel):
    """How often a task run is tried again."""

    model_config = ConfigDict(defer_build=True)

    max_retries: BigInt = 0
    """An older name of ``retries``."""
    retry_delay_seconds: float = 0
    """An older name of ``retry_delay``."""
    retries: BigInt | None = None
    retry_delay: int | float | list[int] | list[float] | None = None
    retry_jitter_factor: float | None = None


class TaskRunResult(BaseModel):
    """An input that came from a task run."""

    input_type: Literal["task_run"] = "task_run"
    id: UUID


class FlowRunResult(BaseModel):
    """An input that came from a flow run."""

    input_type: Literal["flow_run"] = "flow_run"
    id: UUID


class Parameter(BaseModel):
    """An input that came from a flow's parameter."""

    input_type: Literal["parameter"] = "parameter"
    name: str


class Constant(BaseModel):
    """An input that was a plain value."""

    input_type: Literal["constant"] = "constant"
    type: str


TaskInputs = dict[str, list[TaskRunResult | FlowRunResult | Parameter | Constant]]


class TaskRunCreate(BaseModel):
    """A task run to be made, or found by its flow run, task key and dynamic key."""

    model_config = ConfigDict(extra="forbid")

    id: UUID | None = None
    state: StateCreate | None = None
    name: Text | None = None
    flow_run_id: UUID | None = None
    task_key: Text
    dynamic_key: Text
    cache_key: Text | None = None
    cache_expiration: datetime | None = None
    task_version: Text | None = None
    empirical_policy: TaskRunPolicy = Field(default_factory=TaskRunPolicy)
    tags: list[Text] = Field(default_factory=list)
    labels: Labels | None = None
    task_inputs: TaskInputs = Field(default_factory=dict)


class TaskRunUpdate(BaseModel):
    """What of a task run may be changed."""

    model_config = ConfigDict(extra="forbid")

    name: Text | None = None


class TaskRun(BaseModel):
    """A task run; ``flow_name`` and ``state_history`` are ours."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    created: datetime | None
    updated: datetime | None
    name: str = ""
    flow_run_id: UUID | None = None
    task_key: str
    dynamic_key: str
    cache_key: str | None = None
    cache_expiration: datetime | None = None
    task_version: str | None = None
    empirical_policy: TaskRunPolicy = Field(default_factory=TaskRunPolicy)
    tags: list[str] = Field(default_factory=list)
    labels: Labels | None = None
    state_id: UUID | None = None
    task_inputs: TaskInputs = Field(default_factory=dict)
    state_type: StateType | None = None
    state_name: str | None = None
    run_count: int = 0
    flow_run_run_count: int = 0
    expected_start_time: datetime | None = None
    next_scheduled_start_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    total_run_time: float = 0.0
    estimated_run_time: float = 0.0
    estimated_start_time_delta: float = 0.0
    state: State | None = None
    flow_name: str | None = None
    state_history: list[HistoryEntry] | None = None
    """Only when one run is asked for."""


class TaskRunCount(Query):
    """Which task runs to count; filters of other kinds narrow by what a run belongs to."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None


class TaskRunQuery(TaskRunCount):
    """Which task runs to list."""

    sort: TaskRunSort = TaskRunSort.ID_DESC
    limit: BigInt | None = None
    offset: Offset = 0


class TaskRunPaginate(TaskRunCount):
    """Which page of task runs."""

    sort: TaskRunSort = TaskRunSort.ID_DESC
    limit: BigInt | None = None
    page: Page = 1


class TaskRunPaginationResponse(BaseModel):
    """A page of task runs."""

    model_config = ConfigDict(defer_build=True)

    results: list[TaskRun]
    count: int
    limit: int
    pages: int
    page: int
