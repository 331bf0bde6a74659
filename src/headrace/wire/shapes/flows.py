"""Flows on the wire."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.wire.filters import DeploymentFilter, FlowFilter, FlowRunFilter, TaskRunFilter, WorkPoolFilter
from headrace.wire.text import BigInt, FlowName, Labels, Offset, Page, Query, Text

from .sorts import FlowSort


class FlowCreate(BaseModel):
    """A flow to be made, or found by its name."""

    model_config = ConfigDict(extra="forbid")

    name: FlowName
    tags: list[Text] = Field(default_factory=list)
    labels: Labels | None = None


class FlowUpdate(BaseModel):
    """What of a flow may be changed."""

    model_config = ConfigDict(extra="forbid")

    tags: list[Text] = Field(default_factory=list)


class Flow(BaseModel):
    """A flow."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    created: datetime | None
    updated: datetime | None
    name: FlowName
    tags: list[str] = Field(default_factory=list)
    labels: Labels | None = None


class FlowCount(Query):
    """Which flows to count; filters of other kinds narrow by what belongs to a flow."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None
    work_pools: WorkPoolFilter | None = None


class FlowQuery(FlowCount):
    """Which flows to list."""

    sort: FlowSort = FlowSort.NAME_ASC
    limit: BigInt | None = None
    offset: Offset = 0


class FlowPaginate(FlowCount):
    """Which page of flows."""

    sort: FlowSort = FlowSort.NAME_ASC
    limit: BigInt | None = None
    page: Page = 1


class FlowPaginationResponse(BaseModel):
    """A page of flows."""

    model_config = ConfigDict(defer_build=True)

    results: list[Flow]
    count: int
    limit: int
    pages: int
    page: int


class FlowBulkDelete(Query):
    """Which flows to delete together."""

    flows: FlowFilter | None = None
    limit: int = Field(default=50, ge=1, le=50)


class FlowBulkDeleteResponse(BaseModel):
    """What was deleted."""

    deleted: list[UUID] = Field(default_factory=list)
