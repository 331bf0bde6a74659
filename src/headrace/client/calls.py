"""The requests that people's commands make, as functions: bodies in, the contract's JSON out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from .connection import Connection

Json = dict[str, Any]

PAGE = 200
"""The contract's largest page."""


def pages(connection: Connection, path: str, body: Json, *, limit: int | None) -> Iterator[Json]:
    """Yield what a filter finds, page by page, up to ``limit`` things; ``None`` is all of them."""
    offset = 0
    while limit is None or offset < limit:
        size = PAGE if limit is None else min(PAGE, limit - offset)
        found = connection.post(path, {**body, "limit": size, "offset": offset}, repeatable=True)
        yield from found
        if len(found) < size:
            return
        offset += size


def flow_runs(
    connection: Connection, filters: Json, *, limit: int | None, sort: str = "START_TIME_DESC"
) -> list[Json]:
    """Return flow runs, each with its ``flow_name``; ``filters`` is ``{"flow_runs": ..., "flows": ...}``."""
    runs = list(pages(connection, "/flow_runs/filter", {**filters, "sort": sort}, limit=limit))
    return with_flow_names(connection, runs)


def flow_run(connection: Connection, id: str) -> Json:
    """Return one flow run with its ``flow_name``.

    Raises:
        ObjectNotFound: there is none with this id.
    """
    return with_flow_names(connection, [connection.get(f"/flow_runs/{id}")])[0]


def delete_flow_run(connection: Connection, id: str) -> None:
    """Delete a flow run with its task runs and logs."""
    connection.delete(f"/flow_runs/{id}")


def set_flow_run_state(
    connection: Connection, id: str, state: Json, *, force: bool = False, who: str | None = None
) -> Json:
    """Propose a state; return the server's answer with ``status``, ``state`` and ``details``.

    ``who`` asks, for the run's record; only ASCII letters of it reach the server.
    """
    body = {"state": state, "force": force}
    path = f"/flow_runs/{id}/set_state"
    answer: Json = connection.request("POST", path, json=body, headers=_asked_by(who)).json()
    return answer


def resume_flow_run(
    connection: Connection, id: str, run_input: Json | None = None, *, who: str | None = None
) -> Json:
    """Ask that a paused or suspended run go on; return the server's answer as for a proposed state."""
    body = {"run_input": run_input}
    path = f"/flow_runs/{id}/resume"
    answer: Json = connection.request("POST", path, json=body, headers=_asked_by(who)).json()
    return answer


def _asked_by(who: str | None) -> dict[str, str] | None:
    return {"User-Agent": f"headrace ({who.encode('ascii', 'replace').decode()})"} if who else None


def task_runs(
    connection: Connection, filters: Json, *, limit: int | None, sort: str = "EXPECTED_START_TIME_ASC"
) -> list[Json]:
    """Return task runs; ``filters`` is ``{"task_runs": ..., "flow_runs": ..., "flows": ...}``."""
    return list(pages(connection, "/task_runs/filter", {**filters, "sort": sort}, limit=limit))


def task_run(connection: Connection, id: str) -> Json:
    """Return one task run.

    Raises:
        ObjectNotFound: there is none with this id.
    """
    run: Json = connection.get(f"/task_runs/{id}")
    return run


def count_flow_runs(connection: Connection, filters: Json) -> int:
    """Return how many flow runs the filters find."""
    return int(connection.post("/flow_runs/count", filters, repeatable=True))


def count_task_runs(connection: Connection, filters: Json) -> int:
    """Return how many task runs the filters find."""
    return int(connection.post("/task_runs/count", filters, repeatable=True))


def flows(
    connection: Connection, filters: Json, *, limit: int | None, sort: str = "CREATED_DESC"
) -> list[Json]:
    """Return flows; ``filters`` is ``{"flows": ..., "flow_runs": ...}``."""
    return list(pages(connection, "/flows/filter", {**filters, "sort": sort}, limit=limit))


def with_flow_names(connection: Connection, runs: list[Json]) -> list[Json]:
    """Put ``flow_name`` beside each ``flow_id`` of flow runs or deployments, asking for the names that are missing."""
    missing = sorted({run["flow_id"] for run in runs if "flow_name" not in run})
    if missing:
        known = flows(connection, {"flows": {"id": {"any_": missing}}}, limit=len(missing))
        names = {flow["id"]: flow["name"] for flow in known}
        for run in runs:
            run.setdefault("flow_name", names.get(run["flow_id"]))
    return runs


def logs(
    connection: Connection, filters: Json, *, after: str | None = None, limit: int | None = None
) -> Iterator[Json]:
    """Yield log lines, oldest first, from the time ``after`` on (that moment included).

    Pages are asked for by time, not by a growing offset, so that a million lines cost a million lines.
    """
    seen: set[str] = set()
    cursor, offset, count = after, 0, 0
    while limit is None or count < limit:
        timestamp = {"timestamp": {"after_": cursor}} if cursor else {}
        body = {
            "logs": {**filters, **timestamp},
            "sort": "TIMESTAMP_ASC",
            "limit": PAGE,
            "offset": offset,
        }
        found = connection.post("/logs/filter", body, repeatable=True)
        for line in found:
            if line["id"] not in seen and (limit is None or count < limit):
                count += 1
                yield line
        if len(found) < PAGE:
            return
        last = found[-1]["timestamp"]
        # A page may hold one moment only: then time does not move the cursor, and the offset must.
        offset = offset + PAGE if last == cursor else 0
        seen = {line["id"] for line in found if line["timestamp"] == last} | (
            seen if last == cursor else set()
        )
        cursor = last


def last_logs(connection: Connection, filters: Json, count: int) -> list[Json]:
    """Return the last ``count`` log lines, oldest first."""
    body = {"logs": filters, "sort": "TIMESTAMP_DESC"}
    return list(pages(connection, "/logs/filter", body, limit=count))[::-1]


def work_pools(connection: Connection, filters: Json | None = None, *, limit: int | None) -> list[Json]:
    """Return work pools by name; ``filters`` is the contract's filter of work pools."""
    return list(pages(connection, "/work_pools/filter", {"work_pools": filters}, limit=limit))


def work_pool(connection: Connection, name: str) -> Json:
    """Return one work pool.

    Raises:
        ObjectNotFound: there is none with this name.
    """
    pool: Json = connection.get(_pool(name))
    return pool


def create_work_pool(connection: Connection, body: Json) -> Json:
    """Make a work pool with its default queue.

    Raises:
        ObjectAlreadyExists: there is one with this name.
    """
    pool: Json = connection.post("/work_pools/", body)
    return pool


def change_work_pool(connection: Connection, name: str, changes: Json) -> None:
    """Change fields of a work pool."""
    connection.request("PATCH", _pool(name), json=changes)


def delete_work_pool(connection: Connection, name: str) -> None:
    """Delete a work pool with its queues; its deployments stay, without a queue."""
    connection.delete(_pool(name))


def work_pool_slots(connection: Connection, name: str) -> Json:
    """Return how many slots of a pool are held and, by queue, by which runs: at most 200 of each of 200 queues."""
    path = f"{_pool(name)}/concurrency_status"
    found: Json = connection.post(path, {"limit": PAGE, "flow_run_limit": PAGE}, repeatable=True)
    return found


def work_queue_slots(connection: Connection, id: str) -> Json:
    """Return how many slots of a queue are held and by which runs, at most 200 of them."""
    path = f"/work_queues/{id}/concurrency_status"
    found: Json = connection.post(path, {"limit": PAGE}, repeatable=True)
    return found


def workers(connection: Connection, pool: str, *, limit: int | None) -> list[Json]:
    """Return the workers of a pool, the last heard of first."""
    return list(pages(connection, f"{_pool(pool)}/workers/filter", {}, limit=limit))


def job_templates(connection: Connection) -> dict[str, Json]:
    """Return ``{type of work pool: its base job template}`` for every type that the server knows."""
    view = connection.get("/collections/views/aggregate-worker-metadata")
    types = {name: entry for each in view.values() for name, entry in each.items()}
    return {name: entry["default_base_job_configuration"] for name, entry in types.items()}


def work_queues(
    connection: Connection, filters: Json | None = None, *, pool: str | None = None, limit: int | None
) -> list[Json]:
    """Return work queues: of one pool in the order in which they are served, otherwise of all pools by name."""
    path = "/work_queues/filter" if pool is None else f"{_pool(pool)}/queues/filter"
    return list(pages(connection, path, {"work_queues": filters}, limit=limit))


def create_work_queue(connection: Connection, pool: str, body: Json) -> Json:
    """Make a work queue of a pool.

    Raises:
        ObjectNotFound: there is no such pool.
        ObjectAlreadyExists: the pool has a queue of this name.
    """
    queue: Json = connection.post(f"{_pool(pool)}/queues", body)
    return queue


def change_work_queue(connection: Connection, id: str, changes: Json) -> None:
    """Change fields of a work queue."""
    connection.request("PATCH", f"/work_queues/{id}", json=changes)


def delete_work_queue(connection: Connection, id: str) -> None:
    """Delete a work queue; its deployments stay, without a queue."""
    connection.delete(f"/work_queues/{id}")


def _pool(name: str) -> str:
    return f"/work_pools/{quote(name, safe='')}"


def deployments(
    connection: Connection, filters: Json, *, limit: int | None, sort: str = "NAME_ASC"
) -> list[Json]:
    """Return deployments, each with its ``flow_name``; ``filters`` is ``{"deployments": ..., "flows": ...}``."""
    found = list(pages(connection, "/deployments/filter", {**filters, "sort": sort}, limit=limit))
    return with_flow_names(connection, found)


def deployment(connection: Connection, id: str) -> Json:
    """Return one deployment with its ``flow_name``.

    Raises:
        ObjectNotFound: there is none with this id.
    """
    return with_flow_names(connection, [connection.get(f"/deployments/{id}")])[0]


def change_deployment(connection: Connection, id: str, changes: Json) -> None:
    """Change fields of a deployment."""
    connection.request("PATCH", f"/deployments/{id}", json=changes)


def set_deployment_paused(connection: Connection, id: str, *, paused: bool) -> None:
    """Let a deployment's schedules plan no more runs, or plan them again."""
    connection.post(f"/deployments/{id}/{'pause' if paused else 'resume'}_deployment")


def delete_deployment(connection: Connection, id: str) -> None:
    """Delete a deployment with its schedules and its runs that never began."""
    connection.delete(f"/deployments/{id}")


def run_of_deployment(connection: Connection, id: str, body: Json) -> Json:
    """Make a run of a deployment; ``body`` says what is other than in the deployment.

    Raises:
        ObjectAlreadyExists: the parameters do not fit; ``body["detail"]`` names each field.
    """
    run: Json = connection.post(f"/deployments/{id}/create_flow_run", body)
    return run


def create_schedules(connection: Connection, deployment: str, schedules: list[Json]) -> list[Json]:
    """Add schedules to a deployment; return them as the server keeps them."""
    made: list[Json] = connection.post(f"/deployments/{deployment}/schedules", schedules)
    return made


def change_schedule(connection: Connection, deployment: str, id: str, changes: Json) -> None:
    """Change fields of a deployment's schedule; what it planned is planned anew."""
    connection.request("PATCH", f"/deployments/{deployment}/schedules/{id}", json=changes)


def delete_schedule(connection: Connection, deployment: str, id: str) -> None:
    """Delete a deployment's schedule; what it planned goes."""
    connection.delete(f"/deployments/{deployment}/schedules/{id}")
