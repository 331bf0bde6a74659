"""What lists and dashboards ask a server, and how soon it answers."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, NamedTuple

from .client import Client
from .measure import median

_REPETITIONS = 9

Json = dict[str, Any]


class Question(NamedTuple):
    """One request, as a client sends it."""

    path: str
    body: Json


class Asker(Client):
    """A client that knows how long its answers took."""

    def __call__(self, path: str, body: Any) -> Any:  # type: ignore[override]  # all that is asked is POST
        """Return the answer's JSON."""
        return super().__call__("POST", path, body)

    def times_ms(self, question: Question) -> list[float]:
        """Return how long a question takes in milliseconds, again and again, when it was asked once before."""
        values = []
        for _ in range(_REPETITIONS + 1):
            begin = time.perf_counter()
            self(*question)
            values.append((time.perf_counter() - begin) * 1e3)
        return values[1:]


def tell(where: str, question: Question, values: list[float]) -> None:
    """Show the times of one question on standard error."""
    asked = f"{question.path} {json.dumps(question.body)}"
    print(
        f"{where}: {median(values):8.2f} ms, at best {min(values):8.2f} ms  {asked}",
        file=sys.stderr,
        flush=True,
    )


def lists_of_task_runs(flow_run: str) -> list[Question]:
    """Return what lists ask: of one flow run and of all, newest first, of some states."""
    of_run = {"flow_runs": {"id": {"any_": [flow_run]}}}
    newest = {"sort": "EXPECTED_START_TIME_DESC", "limit": 50}
    asked: list[Json] = [
        {**of_run, **newest},
        {**of_run, "sort": "EXPECTED_START_TIME_ASC", "limit": 50},
        {**of_run, **newest, "task_runs": _of("FAILED")},
        newest,
        {"sort": "ID_DESC", "limit": 50},
        *(
            {**newest, "task_runs": _of(*types)}
            for types in (("FAILED",), ("CRASHED",), ("COMPLETED",), ("FAILED", "CRASHED"))
        ),
        {**newest, "task_runs": _of("RUNNING")},
    ]
    return [Question("/task_runs/filter", body) for body in asked]


def counts_of_task_runs(flow_run: str, since: str) -> list[Question]:
    """Return what dashboards count: by state, of one flow run, of the time since a moment, and of all time."""
    states = (("COMPLETED",), ("FAILED", "CRASHED"), ("RUNNING",))
    of_run = [{"flow_runs": {"id": {"any_": [flow_run]}}, "task_runs": _of(*types)} for types in states]
    lately = [
        {"task_runs": {**_of(*types), name: {"after_": since}}}
        for types in states
        for name in ("start_time", "expected_start_time")
    ]
    ever = [{}, *({"task_runs": _of(*types)} for types in states)]
    return [Question("/task_runs/count", body) for body in (*of_run, *lately, *ever)]


def lists_of_flow_runs() -> list[Question]:
    """Return what lists of flow runs ask: rare states and common ones, one and several, in several orders.

    Not among them: the last ended by *name* of state, which no index serves (0.1 to 1 s); by type it is.
    """
    starts = ("START_TIME_DESC", "EXPECTED_START_TIME_DESC", "ID_DESC")
    by_type = (
        ("FAILED",),
        ("COMPLETED",),
        ("FAILED", "CRASHED"),
        ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"),
    )
    by_name = (("Failed",), ("Completed",), ("Completed", "Failed"))
    asked = [
        (sort, {"type": {"any_": list(some)}}) for some in by_type for sort in (*starts, "END_TIME_DESC")
    ]
    asked += [(sort, {"name": {"any_": list(some)}}) for some in by_name for sort in starts]
    return [
        Question("/flow_runs/filter", {"flow_runs": {"state": state}, "sort": sort, "limit": 50})
        for sort, state in asked
    ]


def counts_of_flow_runs(since: str) -> list[Question]:
    """Return what dashboards count: by state, of the time since a moment and of all time."""
    states = (
        ("COMPLETED",),
        ("FAILED", "CRASHED"),
        ("RUNNING", "PENDING", "CANCELLING"),
        ("SCHEDULED", "PAUSED"),
    )
    lately = [
        {"flow_runs": {**_of(*types), name: {"after_": since}}}
        for types in states
        for name in ("start_time", "expected_start_time")
    ]
    ever = [{}, *({"flow_runs": _of(*types)} for types in states)]
    return [Question("/flow_runs/count", body) for body in (*lately, *ever)]


def _of(*types: str) -> Json:
    return {"state": {"type": {"any_": list(types)}}}
