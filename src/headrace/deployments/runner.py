"""A deployment as a value: what is to be run, where its code is, when, and with what."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

from ..client.connection import Connection
from ..connect import connect
from ..engine.calling import here_or_awaited
from ..engine.recorder import current_settings
from ..errors import DeploymentError, ObjectNotFound, ParameterBindError
from .entrypoints import Code, code_of
from .timing import schedules_of
from .values import jsonable

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine.deployable import DeploymentOptions
    from .storage import Storage

Json = dict[str, Any]


@dataclass
class ConcurrencyLimitConfig:
    """How many runs of a deployment may go on at once, and what becomes of one too many."""

    limit: int
    collision_strategy: str = "ENQUEUE"
    """``ENQUEUE``: it waits; ``CANCEL_NEW``: it is cancelled."""
    grace_period_seconds: int | None = None
    """Seconds that a granted run may take to begin."""


@dataclass
class RunnerDeployment:
    """A deployment that the server keeps once :meth:`apply` is called; made by :meth:`Flow.to_deployment`.

    What is ``None`` of ``paused``, ``schedules`` and ``crash_brake`` is left as the server has it; everything else is set.
    """

    name: str
    flow_name: str
    code: Code
    parameter_openapi_schema: Json
    parameters: Json = field(default_factory=dict)
    description: str | None = None
    tags: list[str] = field(default_factory=list)
    version: str | None = None
    enforce_parameter_schema: bool = True
    work_pool_name: str | None = None
    work_queue_name: str | None = None
    job_variables: Json = field(default_factory=dict)
    concurrency_limit: int | None = None
    concurrency_options: Json | None = None
    crash_brake: Json | None = None
    """``{"crashes": 5, "seconds": 600}``: after so many crashes it is paused; 0 crashes: never."""
    paused: bool | None = None
    schedules: list[Json] | None = None

    @property
    def full_name(self) -> str:
        """``flow/deployment``, by which commands and ``run_deployment`` know it."""
        return f"{self.flow_name}/{self.name}"

    @property
    def entrypoint(self) -> str:
        """``path/to/file.py:name``, or ``package.module:name``."""
        return self.code.entrypoint

    @classmethod
    def from_flow(
        cls, flow: Any, name: str, work_pool_name: str | None = None, **options: Unpack[DeploymentOptions]
    ) -> RunnerDeployment:
        """Return a deployment of a flow that is at hand; the options are those of :meth:`Flow.to_deployment`.

        Raises:
            DeploymentError: it cannot be made so.
            ParameterBindError: ``parameters`` has names that the flow does not take.
            ParameterTypeError: some of the parameters do not fit.
            ScheduleError: a schedule cannot be read.
        """
        _refuse_unknown(options)
        return _made(flow, name, code_of(flow, options.get("entrypoint_type")), work_pool_name, options)

    @classmethod
    def from_entrypoint(
        cls,
        entrypoint: str,
        name: str,
        work_pool_name: str | None = None,
        *,
        folder: str | os.PathLike[str] = ".",
        **options: Unpack[DeploymentOptions],
    ) -> RunnerDeployment:
        """Return a deployment of the flow at ``file.py:function`` below a folder; raises as :meth:`from_flow`."""
        from .storage import LocalStorage

        return cls.from_storage(LocalStorage(Path(folder)), entrypoint, name, work_pool_name, **options)

    @classmethod
    def from_storage(
        cls,
        storage: Storage | str,
        entrypoint: str,
        name: str,
        work_pool_name: str | None = None,
        **options: Unpack[DeploymentOptions],
    ) -> RunnerDeployment:
        """Return a deployment of the flow at an entrypoint in a folder or a git repository; raises as :meth:`from_flow`."""
        from .fetching import flow_from

        return cls.from_flow(flow_from(storage, entrypoint), name, work_pool_name, **options)

    def apply(self, work_pool_name: str | None = None) -> UUID:
        """Have the server keep the deployment, made anew or changed; return its id (in async code: await it).

        Raises:
            DeploymentError: there is no such work pool.
            ApiError: the server refuses something; the text names the field.
        """
        if work_pool_name is not None:
            self.work_pool_name = work_pool_name
        return here_or_awaited(self._apply)

    async def aapply(self, work_pool_name: str | None = None) -> UUID:
        """As :meth:`apply`."""
        import asyncio

        if work_pool_name is not None:
            self.work_pool_name = work_pool_name
        return await asyncio.to_thread(self._apply)

    def _apply(self) -> UUID:
        with connect(current_settings()) as connection:
            return put(connection, self)

    def document(self, flow_id: str) -> Json:
        """Return the body of the request that makes it."""
        body: Json = {
            "name": self.name, "flow_id": flow_id, "entrypoint": self.code.entrypoint, "path": self.code.path,
            "pull_steps": self.code.pull_steps, "parameter_openapi_schema": self.parameter_openapi_schema,
            "parameters": self.parameters, "description": self.description, "tags": self.tags,
            "version": self.version, "enforce_parameter_schema": self.enforce_parameter_schema,
            "work_pool_name": self.work_pool_name, "work_queue_name": self.work_queue_name,
            "job_variables": self.job_variables, "concurrency_limit": self.concurrency_limit,
            "concurrency_options": self.concurrency_options,
        }  # fmt: skip
        left_alone = {"paused": self.paused, "schedules": self.schedules, "crash_brake": self.crash_brake}
        return body | {name: value for name, value in left_alone.items() if value is not None}


def put(connection: Connection, deployment: RunnerDeployment) -> UUID:
    """Make a deployment over a connection, or change the one of its name; return its id.

    Raises:
        DeploymentError: there is no such work pool.
        ApiError: the server refuses something.
    """
    if deployment.work_pool_name is not None:
        require_pool(connection, deployment.work_pool_name)
    flow = connection.post("/flows/", {"name": deployment.flow_name}, repeatable=True)
    made = connection.post("/deployments/", deployment.document(flow["id"]), repeatable=True)
    return UUID(made["id"])


def require_pool(connection: Connection, name: str) -> Json:
    """Return a work pool.

    Raises:
        DeploymentError: there is none of this name; the text lists those that there are.
    """
    try:
        pool: Json = connection.get(f"/work_pools/{quote(name, safe='')}")
    except ObjectNotFound as error:
        known = ", ".join(each["name"] for each in connection.post("/work_pools/filter", {}, repeatable=True))
        there = f"There are: {known}." if known else "There is none yet."
        raise DeploymentError(
            f"There is no work pool {name!r}. {there} Make it with `headrace work-pool create {name} --type process`."
        ) from error
    return pool


def _made(
    flow: Any, name: str, code: Code, work_pool_name: str | None, options: Mapping[str, Any]
) -> RunnerDeployment:
    from ..engine.parameter_schema import parameter_schema  # here: pydantic is 100 ms

    _refuse_name(name)
    if options.get("triggers"):
        raise DeploymentError(
            "triggers come with automations, which this release does not have. Leave them out."
        )
    enforced = options.get("enforce_parameter_schema", True)
    limit, how = _limit_of(options.get("concurrency_limit"))
    return RunnerDeployment(
        name=name,
        flow_name=flow.name,
        code=code,
        parameter_openapi_schema=parameter_schema(flow),
        parameters=_parameters(flow, options.get("parameters") or {}, enforced),
        description=options.get("description") or flow.description,
        tags=list(dict.fromkeys(_texts(options.get("tags"), "tags"))),
        version=options.get("version") or flow.version,
        enforce_parameter_schema=enforced,
        work_pool_name=work_pool_name,
        work_queue_name=options.get("work_queue_name"),
        job_variables=jsonable(options.get("job_variables") or {}, "job variable"),
        concurrency_limit=limit,
        concurrency_options=how,
        crash_brake=_brake_of(options.get("crash_brake")),
        paused=options.get("paused"),
        schedules=_schedules(options),
    )


def _schedules(options: Mapping[str, Any]) -> list[Json] | None:
    return schedules_of(
        **{name: options.get(name) for name in ("interval", "cron", "rrule", "schedule", "schedules")}
    )


def _parameters(flow: Any, given: Mapping[str, Any], enforced: bool) -> Json:
    """Return the parameters as JSON, once each has been fitted to the flow."""
    known = flow.signature.parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in known.values())
    unknown = [name for name in given if name not in known and not takes_any]
    if unknown and enforced:
        raise ParameterBindError(
            f"Flow {flow.name!r} has no parameter {unknown[0]!r}. It takes: {', '.join(known) or 'none'}."
        )
    if enforced and flow.should_validate_parameters:
        given = flow.validator.validate(dict(given))  # "3" for an int is 3 from here on
    return jsonable(given, "parameter")


def _limit_of(limit: Any) -> tuple[int | None, Json | None]:
    """Return a limit's number and how it is kept, from a number, a mapping or a :class:`ConcurrencyLimitConfig`."""
    if limit is None:
        return None, None
    if isinstance(limit, int) and not isinstance(limit, bool):
        return limit, None
    given = (
        dict(limit) if isinstance(limit, Mapping) else {name: getattr(limit, name, None) for name in _LIMIT}
    )
    unknown = sorted(set(given) - set(_LIMIT))
    number = given.get("limit")
    if unknown or not isinstance(number, int):
        raise DeploymentError(
            f"concurrency_limit is {limit!r}. Give a number, or {{'limit': 4, 'collision_strategy': 'ENQUEUE' or "
            "'CANCEL_NEW', 'grace_period_seconds': 600}."
        )
    strategy = given.get("collision_strategy")
    strategy = str(getattr(strategy, "value", strategy) or "ENQUEUE")
    how = {"collision_strategy": strategy, "grace_period_seconds": given.get("grace_period_seconds")}
    return number, {name: value for name, value in how.items() if value is not None}


def _brake_of(brake: Any) -> Json | None:
    if brake is None:
        return None
    if not isinstance(brake, Mapping) or not set(brake) <= {"crashes", "seconds"}:
        raise DeploymentError(
            f"crash_brake is {brake!r}. Give {{'crashes': 5, 'seconds': 600}}, or 0 crashes for none."
        )
    return dict(brake)


_LIMIT = ("limit", "collision_strategy", "grace_period_seconds")


def _refuse_name(name: str) -> None:
    if not isinstance(name, str) or not name or any(letter in name for letter in "/%&><"):
        raise DeploymentError(f"The deployment's name is {name!r}. It is a text without any of / % & > <.")


def _refuse_unknown(options: Mapping[str, Any]) -> None:
    from ..engine.deployable import DeploymentOptions

    unknown = sorted(set(options) - set(DeploymentOptions.__annotations__))
    if unknown:
        raise TypeError(
            f"A deployment has no {unknown[0]!r}. It has: {', '.join(DeploymentOptions.__annotations__)}."
        )


def _texts(values: Iterable[str] | None, what: str) -> list[str]:
    if isinstance(values, str):
        raise DeploymentError(f"{what} is the text {values!r}; give a list of texts.")
    return list(values or [])
