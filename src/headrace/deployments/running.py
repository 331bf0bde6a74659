"""Start a run of a deployment from code, wait for its end, and show it below the run that started it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from ..client.connection import Connection
from ..client.waiting import Wait
from ..connect import connect
from ..engine.calling import is_awaited
from ..engine.futures import collect_futures, replace_futures
from ..engine.recorded import RecordedFlowRun
from ..engine.recorder import current_settings
from ..engine.run import FlowRun, current_run, current_tags
from ..errors import (
    ApiError,
    DeploymentError,
    ObjectAlreadyExists,
    ObjectNotFound,
    ParameterTypeError,
    ServerUnavailable,
)
from .values import jsonable

Json = dict[str, Any]

_LINK_PATIENCE_S = 10.0
"""How long the server may take to hear of a run that asks for another one: its journal is shipped beside it."""

_AWAY_PATIENCE_S = 60.0
"""How long a run that does not wait for the other one's end goes on asking a server that is away."""

_LONGEST_PAUSE_S = 5.0


def run_deployment(
    name: str | uuid.UUID,
    client: Connection | None = None,
    parameters: Mapping[str, Any] | None = None,
    scheduled_time: datetime | None = None,
    flow_run_name: str | None = None,
    timeout: float | None = None,
    poll_interval: float = 5,
    tags: Iterable[str] | None = None,
    idempotency_key: str | None = None,
    work_queue_name: str | None = None,
    as_subflow: bool = True,
    job_variables: Mapping[str, Any] | None = None,
) -> RecordedFlowRun:
    """Make a run of a deployment, wait for its end, and return it as the server has it (in async code: await it).

    ``name``: ``flow/deployment``, or the deployment's id. ``scheduled_time``: an aware time; now without one.
    ``timeout``: seconds to wait; ``None`` for as long as it takes, ``0`` not at all; when they are over the run is
    returned as it is, and goes on. ``poll_interval``: the longest pause between two looks, in seconds; the first ones
    are short. ``idempotency_key``: a second call with the same one returns the first one's run. ``as_subflow``: within
    a flow, show the run below it. ``client``: a connection to use in place of the settings' own.

    A server that restarts meanwhile only takes time. Whether the run succeeded is in its ``state``; nothing is raised
    for it.

    Raises:
        ObjectNotFound: there is no such deployment.
        ParameterTypeError: the parameters do not fit the deployment's flow; the text names each.
        DeploymentError: the job variables do not fit its work pool.
        ServerUnavailable: no server answers.
    """
    request = _Request(
        name, client, parameters or {}, scheduled_time, flow_run_name, timeout, poll_interval, frozenset(tags or ()),
        idempotency_key, work_queue_name, as_subflow, job_variables,
    )  # fmt: skip
    if is_awaited():
        waiting: Any = (
            request.aio()
        )  # typed as what sync callers get; arun_deployment is typed for async ones
        return waiting  # type: ignore[no-any-return]
    return request.sync()


async def arun_deployment(
    name: str | uuid.UUID,
    client: Connection | None = None,
    parameters: Mapping[str, Any] | None = None,
    scheduled_time: datetime | None = None,
    flow_run_name: str | None = None,
    timeout: float | None = None,
    poll_interval: float = 5,
    tags: Iterable[str] | None = None,
    idempotency_key: str | None = None,
    work_queue_name: str | None = None,
    as_subflow: bool = True,
    job_variables: Mapping[str, Any] | None = None,
) -> RecordedFlowRun:
    """As :func:`run_deployment`, for async code."""
    return await _Request(
        name, client, parameters or {}, scheduled_time, flow_run_name, timeout, poll_interval, frozenset(tags or ()),
        idempotency_key, work_queue_name, as_subflow, job_variables,
    ).aio()  # fmt: skip


@dataclass
class _Request:
    """One call of ``run_deployment``."""

    name: str | uuid.UUID
    client: Connection | None
    parameters: Mapping[str, Any]
    scheduled_time: datetime | None
    flow_run_name: str | None
    timeout: float | None
    poll_interval: float
    tags: frozenset[str]
    idempotency_key: str | None
    work_queue_name: str | None
    as_subflow: bool
    job_variables: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        self._deadline = None if self.timeout is None else time.monotonic() + self.timeout
        run = current_run.get()
        self._caller = run.flow_run if run is not None else None
        self._connection = self.client or connect(current_settings())

    def sync(self) -> RecordedFlowRun:
        """Make the run and wait in this thread."""
        try:
            made = self._create()
            return RecordedFlowRun(made if self.timeout == 0 else self._wait(made).sync())
        finally:
            self._close()

    async def aio(self) -> RecordedFlowRun:
        """Make the run and wait without holding up the loop."""
        try:
            made = await asyncio.to_thread(self._create)
            return RecordedFlowRun(made if self.timeout == 0 else await self._wait(made).aio())
        finally:
            self._close()

    def _close(self) -> None:
        if self.client is None:
            self._connection.close()

    def _wait(self, made: Json) -> Wait:
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)
        return Wait(self._connection, made["id"], timeout=left, interval=self.poll_interval, run=made)

    def _create(self) -> Json:
        """Make the run; within a flow a server that is away is waited for."""
        key = str(uuid.uuid4())
        pause = 0.2
        until = time.monotonic() + max(_AWAY_PATIENCE_S, self.timeout or 0.0)
        while True:
            try:
                return self._create_once(key)
            except ServerUnavailable:
                over = self.timeout is not None and time.monotonic() > until
                if self._caller is None or over:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _create_once(self, key: str) -> Json:
        deployment = self._deployment()
        given = replace_futures(dict(self.parameters), lambda future: future.result())
        parameters = jsonable(given, "parameter")
        placeholder = self._placeholder(deployment, key) if self.as_subflow else None
        body = self._body(parameters, self.idempotency_key or key, placeholder)
        made: Json = {}
        try:
            path = f"/deployments/{deployment['id']}/create_flow_run"
            made = self._connection.post(path, body, repeatable=True)
        except ServerUnavailable:
            made = {"parent_task_run_id": placeholder}  # it may have been made: what stands for it stays
            raise
        except ApiError as error:
            refusal = _refusal(error, self.name)
            if refusal is None:
                raise
            raise refusal from error
        finally:
            if placeholder is not None and made.get("parent_task_run_id") != placeholder:
                self._connection.delete(f"/task_runs/{placeholder}")  # it stands for no run
        return made

    def _deployment(self) -> Json:
        text = str(self.name)
        path = f"/deployments/{text}" if _is_id(text) else f"/deployments/name/{quote(text, safe='/')}"
        try:
            found: Json = self._connection.get(path)
        except ObjectNotFound as error:
            raise ObjectNotFound(
                f"There is no deployment {text!r}{_near(self._connection, text)}. `headrace deployment ls` lists them; a "
                "name is flow/deployment.",
                status=error.status,
                body=error.body,
            ) from error
        return found

    def _body(self, parameters: Json, key: str, placeholder: str | None) -> Json:
        due = (self.scheduled_time or datetime.now(timezone.utc)).astimezone(timezone.utc)
        variables = self.job_variables
        body = {
            "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}},
            "name": self.flow_run_name,
            "parameters": parameters,
            "tags": sorted(self.tags | current_tags.get()),
            "idempotency_key": key,
            "parent_task_run_id": placeholder,
            "work_queue_name": self.work_queue_name,
            "job_variables": None if variables is None else jsonable(variables, "job variable"),
        }
        return {name: value for name, value in body.items() if value is not None}

    def _placeholder(self, deployment: Json, key: str) -> str | None:
        """Make the task run that stands for the run within its caller; ``None`` when nobody shows the caller."""
        caller = self._caller
        if caller is None or not caller.recorder.is_shipped:
            return None
        body = {
            "flow_run_id": caller.id,
            "task_key": f"run_deployment:{self.name}",
            "dynamic_key": key,
            "name": self.flow_run_name or deployment["name"],
            "task_inputs": _inputs(self.parameters),
            "state": {"type": "PENDING", "name": "Pending"},
        }
        until = time.monotonic() + _LINK_PATIENCE_S
        pause = 0.02
        while True:
            try:
                made: Json = self._connection.post("/task_runs/", body, repeatable=True)
                return str(made["id"])
            except ObjectAlreadyExists:  # 409: the server has not heard of the caller yet
                if time.monotonic() > until:
                    _tell_unlinked(caller)
                    return None
            time.sleep(pause)
            pause = min(pause * 2, 0.5)


def _refusal(error: ApiError, name: Any) -> Exception | None:
    """Return the error for what the server says does not fit; ``None`` for another one."""
    detail = error.body.get("detail") if isinstance(error.body, dict) else None
    if not isinstance(detail, str) or "Validation failed for" not in detail:
        return None
    kind = DeploymentError if "job variables" in detail.partition(":")[2][:60] else ParameterTypeError
    return kind(f"No run of deployment {name} was made: {detail.rstrip('.')}.")


def _tell_unlinked(caller: FlowRun) -> None:
    logging.getLogger("headrace.deployments").warning(
        "The server does not know flow run %s yet (its journal has not arrived), so the run that it starts is not "
        "shown below it. The run itself is made.",
        caller.id,
    )


def _inputs(parameters: Mapping[str, Any]) -> Json:
    found = {name: collect_futures(value) for name, value in parameters.items()}
    return {
        name: [
            {"input_type": "task_run", "id": each.task_run_id}
            for each in futures
            if hasattr(each, "task_run_id")
        ]
        for name, futures in found.items()
        if futures
    }


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _near(connection: Connection, name: str) -> str:
    """Return a hint at deployments whose names are near."""
    import difflib  # here: only for an error

    flows = {flow["id"]: flow["name"] for flow in connection.post("/flows/filter", {}, repeatable=True)}
    known = connection.post("/deployments/filter", {}, repeatable=True)
    names = [f"{flows.get(each['flow_id'], '?')}/{each['name']}" for each in known]
    near = difflib.get_close_matches(name, names, n=3)
    return f"; near it: {', '.join(near)}" if near else ""
