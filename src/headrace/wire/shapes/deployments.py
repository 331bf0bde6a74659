"""Deployments on the wire: a flow with all that is needed to run it elsewhere."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.wire.filters import (
    DeploymentFilter,
    FlowFilter,
    FlowRunFilter,
    TaskRunFilter,
    WorkPoolFilter,
    WorkQueueFilter,
)
from headrace.wire.text import (
    BigInt,
    Count,
    JsonObject,
    Labels,
    Message,
    Name,
    Offset,
    Page,
    Positive,
    Query,
    Text,
)

from .flow_runs import CreatedBy, FlowRunPolicy
from .schedules import DeploymentSchedule, DeploymentScheduleCreate, DeploymentScheduleUpdate
from .sorts import DeploymentSort
from .states import StateCreate

DeploymentName = Annotated[Text, Field(max_length=500)]


class DeploymentStatus(str, Enum):
    """Whether somebody carries out a deployment's runs."""

    READY = "READY"
    NOT_READY = "NOT_READY"


class ConcurrencyLimitStrategy(str, Enum):
    """What happens to a run when a deployment's limit is reached."""

    ENQUEUE = "ENQUEUE"
    CANCEL_NEW = "CANCEL_NEW"


class ConcurrencyOptions(BaseModel):
    """How a deployment's limit is kept."""

    collision_strategy: ConcurrencyLimitStrategy
    grace_period_seconds: Annotated[int, Field(ge=60, le=86_400)] | None = None


class VersionInfo(BaseModel):
    """Which version of the code a deployment is."""

    type: Text
    version: Text


class CrashBrake(BaseModel):
    """After how many crashes within how many seconds a deployment is paused; 0 crashes: never. Ours."""

    model_config = ConfigDict(extra="forbid")

    crashes: Annotated[int, Field(ge=0, le=1000)] = 5
    seconds: Annotated[float, Field(gt=0, le=31_536_000)] = 600.0


class DeploymentCreate(BaseModel):
    """A deployment to be made; one of the same flow and name is changed instead, in what is named here."""

    model_config = ConfigDict(extra="forbid")

    name: DeploymentName
    flow_id: UUID
    paused: bool = False
    schedules: list[DeploymentScheduleCreate] = Field(default_factory=list)
    concurrency_limit: Positive | None = None
    concurrency_options: ConcurrencyOptions | None = None
    global_concurrency_limit_id: UUID | None = None
    enforce_parameter_schema: bool = True
    parameter_openapi_schema: JsonObject | None = None
    parameters: JsonObject = Field(default_factory=dict)
    tags: list[Text] = Field(default_factory=list)
    labels: Labels | None = None
    pull_steps: list[JsonObject] | None = None
    work_queue_name: Name | None = None
    work_pool_name: Text | None = None
    storage_document_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    description: Message | None = None
    path: Text | None = None
    version: Text | None = None
    entrypoint: Text | None = None
    job_variables: JsonObject = Field(default_factory=dict)
    version_info: VersionInfo | None = None
    crash_brake: CrashBrake | None = None


class DeploymentUpdate(BaseModel):
    """What of a deployment may be changed; absent means leave, ``null`` means clear."""

    model_config = ConfigDict(extra="forbid")

    version: Text | None = None
    paused: bool = False
    schedules: list[DeploymentScheduleUpdate] = Field(default_factory=list)
    description: Message | None = None
    concurrency_limit: Positive | None = None
    concurrency_options: ConcurrencyOptions | None = None
    global_concurrency_limit_id: UUID | None = None
    parameters: JsonObject | None = None
    parameter_openapi_schema: JsonObject | None = None
    tags: list[Text] = Field(default_factory=list)
    work_queue_name: Name | None = None
    work_pool_name: Text | None = None
    path: Text | None = None
    job_variables: JsonObject | None = None
    pull_steps: list[JsonObject] | None = None
    entrypoint: Text | None = None
    storage_document_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    enforce_parameter_schema: bool | None = None
    version_info: VersionInfo | None = None
    crash_brake: CrashBrake | None = None


class GlobalConcurrencyLimitResponse(BaseModel):
    """A deployment's limit, as limits are shown."""

    id: UUID
    created: datetime | None
    updated: datetime | None
    active: bool = True
    name: str
    limit: int
    active_slots: int
    slot_decay_per_second: float = 2.0


class DeploymentResponse(BaseModel):
    """A deployment."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    created: datetime | None
    updated: datetime | None
    name: str
    version: str | None = None
    description: str | None = None
    flow_id: UUID
    concurrency_limit: int | None = None
    """Always ``null``: the limit is in ``global_concurrency_limit``."""
    global_concurrency_limit: GlobalConcurrencyLimitResponse | None = None
    paused: bool = False
    concurrency_options: ConcurrencyOptions | None = None
    schedules: list[DeploymentSchedule] = Field(default_factory=list)
    job_variables: JsonObject = Field(default_factory=dict)
    parameters: JsonObject = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    labels: Labels = Field(default_factory=dict)
    work_queue_name: str | None = None
    work_queue_id: UUID | None = None
    work_pool_name: str | None = None
    last_polled: datetime | None = None
    parameter_openapi_schema: JsonObject | None = None
    path: str | None = None
    pull_steps: list[JsonObject] | None = None
    entrypoint: str | None = None
    storage_document_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    created_by: CreatedBy | None = None
    updated_by: CreatedBy | None = None
    status: DeploymentStatus | None = DeploymentStatus.NOT_READY
    enforce_parameter_schema: bool = True
    crash_brake: CrashBrake = Field(default_factory=CrashBrake)
    pause_reason: str | None = None
    """Why it was paused, when a brake did it. Ours."""


class DeploymentCount(Query):
    """Which deployments to count; filters of other kinds narrow by what belongs to one."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None
    work_pools: WorkPoolFilter | None = None
    work_pool_queues: WorkQueueFilter | None = None


class DeploymentQuery(DeploymentCount):
    """Which deployments to list."""

    sort: DeploymentSort = DeploymentSort.NAME_ASC
    limit: BigInt | None = None
    offset: Offset = 0


class DeploymentPaginate(DeploymentCount):
    """Which page of deployments."""

    sort: DeploymentSort = DeploymentSort.NAME_ASC
    limit: BigInt | None = None
    page: Page = 1


class DeploymentPaginationResponse(BaseModel):
    """A page of deployments."""

    model_config = ConfigDict(defer_build=True)

    results: list[DeploymentResponse]
    count: int
    limit: int
    pages: int
    page: int


class DeploymentBulkDelete(Query):
    """Which deployments to delete together."""

    deployments: DeploymentFilter | None = None
    limit: int = Field(default=50, ge=1, le=50)


class DeploymentBulkDeleteResponse(BaseModel):
    """What was deleted."""

    deleted: list[UUID] = Field(default_factory=list)


class DeploymentSchedulePlan(Query):
    """Which runs of a deployment's schedules to plan ahead of time."""

    start_time: datetime | None = None
    end_time: datetime | None = None
    min_time: Annotated[float, Field(ge=0, le=1e9, json_schema_extra={"format": "time-delta"})] | None = None
    min_runs: Count | None = None
    max_runs: Annotated[int, Field(ge=0, le=1000)] | None = None


class DeploymentFlowRunCreate(BaseModel):
    """A run of a deployment to be made, or found by its idempotency key; what is absent the deployment says."""

    model_config = ConfigDict(extra="forbid")

    state: StateCreate | None = None
    name: Text | None = None
    parameters: JsonObject = Field(default_factory=dict)
    enforce_parameter_schema: bool | None = None
    context: JsonObject = Field(default_factory=dict)
    infrastructure_document_id: UUID | None = None
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    tags: list[Text] = Field(default_factory=list)
    idempotency_key: Text | None = None
    parent_task_run_id: UUID | None = None
    work_queue_name: Name | None = None
    job_variables: JsonObject | None = None
    labels: Labels | None = None


class FlowRunCreateResult(BaseModel):
    """What became of one run of many."""

    flow_run_id: UUID | None = None
    status: Literal["CREATED", "FAILED"]
    error: str | None = None


class FlowRunBulkCreateResponse(BaseModel):
    """What became of each run, in the order in which they were asked for."""

    results: list[FlowRunCreateResult] = Field(default_factory=list)
