"""The requests that people's commands make, as functions: bodies in, the contract's JSON out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
    headers = {"User-Agent": f"headrace ({who.encode('ascii', 'replace').decode()})"} if who else None
    body = {"state": state, "force": force}
    answer: Json = connection.request("POST", f"/flow_runs/{id}/set_state", json=body, headers=headers).json()
    return answer


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


def count_task_runs(connection: Connection, filters: Json) -> int:
    """Return how many task runs the filters find."""
    return int(connection.post("/task_runs/count", filters, repeatable=True))


def flows(
    connection: Connection, filters: Json, *, limit: int | None, sort: str = "CREATED_DESC"
) -> list[Json]:
    """Return flows; ``filters`` is ``{"flows": ..., "flow_runs": ...}``."""
    return list(pages(connection, "/flows/filter", {**filters, "sort": sort}, limit=limit))


def with_flow_names(connection: Connection, runs: list[Json]) -> list[Json]:
    """Put ``flow_name`` beside each ``flow_id``; a Headrace server sends it, others are asked for it."""
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
