"""Work pools on the wire: kinds of place where runs can happen, and how they are set up there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from headrace.wire.filters import WorkPoolFilter
from headrace.wire.text import BigInt, Count, JsonObject, Message, Name, Offset, Query, Text

_PLACEHOLDER = re.compile(r"{{\s*([A-Za-z_]\w*)\s*}}")


def _whole(template: JsonObject) -> JsonObject:
    """Return a job template that workers can fill in, or one that says nothing."""
    if not template:
        return template
    variables, job = template.get("variables"), template.get("job_configuration")
    if not isinstance(variables, dict) or not isinstance(job, dict):
        raise _refusal("it needs `variables` and `job_configuration`, each an object.")
    known = variables.get("properties", {})
    unknown = sorted(set(_placeholders(job)) - set(known if isinstance(known, dict) else ()))
    if unknown:
        raise _refusal(f"`job_configuration` uses {', '.join(unknown)}, which `variables` do not declare.")
    return template


def _refusal(why: str) -> PydanticCustomError:
    return PydanticCustomError("job_template", "The template cannot be filled in: {why}", {"why": why})


def _placeholders(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _PLACEHOLDER.findall(value)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _placeholders(each)
    elif isinstance(value, list):
        for each in value:
            yield from _placeholders(each)


JobTemplate = Annotated[JsonObject, AfterValidator(_whole)]
"""``{"variables": a JSON schema, "job_configuration": what a worker fills in}``, or ``{}``."""


class WorkPoolStatus(str, Enum):
    """Whether runs of a pool are carried out."""

    READY = "READY"
    NOT_READY = "NOT_READY"
    PAUSED = "PAUSED"


class WorkPoolStorageConfiguration(BaseModel):
    """Where a pool's code and results are kept."""

    model_config = ConfigDict(extra="forbid")

    bundle_upload_step: JsonObject | None = None
    bundle_execution_step: JsonObject | None = None
    default_result_storage_block_id: UUID | None = None


class WorkPoolCreate(BaseModel):
    """A work pool to be made."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    description: Message | None = None
    type: Text = "prefect-agent"
    base_job_template: JobTemplate = Field(default_factory=dict)
    is_paused: bool = False
    concurrency_limit: Count | None = None
    storage_configuration: WorkPoolStorageConfiguration = Field(default_factory=WorkPoolStorageConfiguration)


class WorkPoolUpdate(BaseModel):
    """What of a work pool may be changed; absent means leave, ``null`` means clear."""

    model_config = ConfigDict(extra="forbid")

    description: Message | None = None
    is_paused: bool | None = None
    base_job_template: JobTemplate | None = None
    concurrency_limit: Count | None = None
    storage_configuration: WorkPoolStorageConfiguration | None = None


class WorkPoolResponse(BaseModel):
    """A work pool."""

    model_config = ConfigDict(defer_build=True)

    id: UUID
    created: datetime | None
    updated: datetime | None
    name: Name
    description: str | None = None
    type: str
    base_job_template: JsonObject = Field(default_factory=dict)
    is_paused: bool = False
    concurrency_limit: Count | None = None
    status: WorkPoolStatus | None = None
    default_queue_id: UUID | None = None
    active_slots: int | None = None
    storage_configuration: WorkPoolStorageConfiguration = Field(default_factory=WorkPoolStorageConfiguration)


class WorkPoolCount(Query):
    """Which work pools to count."""

    work_pools: WorkPoolFilter | None = None


class WorkPoolQuery(WorkPoolCount):
    """Which work pools to list."""

    limit: BigInt | None = None
    offset: Offset = 0
