"""Planned runs on the wire, as they are offered to clients of the contract that look for work."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headrace.wire.text import BigInt, Labels, Query, Text

from .flow_runs import FlowRunResponse


class ScheduledRunsOfQueue(Query):
    """Which planned runs of a work queue are asked for."""

    limit: BigInt | None = None
    scheduled_before: datetime | None = None


class ScheduledRunsOfPool(ScheduledRunsOfQueue):
    """Which planned runs of a pool's queues are asked for."""

    work_queue_names: Annotated[list[Text], Field(max_length=200)] | None = None
    scheduled_after: datetime | None = None


class ScheduledRunsOfDeployments(ScheduledRunsOfQueue):
    """Which planned runs of deployments are asked for."""

    deployment_ids: Annotated[list[UUID], Field(max_length=200)]


class ScheduledFlowRun(FlowRunResponse):
    """A flow run as workers read it; to the contract it is a shape of its own."""

    labels: Labels | None = Field(default_factory=dict)  # type: ignore[assignment]  # here it may be null, there not


class WorkerFlowRunResponse(BaseModel):
    """A planned run, and where it waits."""

    model_config = ConfigDict(defer_build=True)

    work_pool_id: UUID
    work_queue_id: UUID
    flow_run: ScheduledFlowRun
