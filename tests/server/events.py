"""Events that clients send which orchestrate their tasks themselves."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from headrace.server.orchestration import task_run_events
from headrace.server.orchestration.task_run_events import TaskRunEvent

from .journals import an_id

FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)
TYPES = ("PENDING", "RUNNING", "FAILED", "RUNNING", "COMPLETED")


def told(task: int, step: int, second: int | None = None, *, key: int | None = None) -> TaskRunEvent:
    """Return the event of a step of a task run, at a second of the day."""
    at = (FIRST + timedelta(seconds=10 * step if second is None else second)).isoformat()
    type = TYPES[step]
    run: dict[str, Any] = {
        "task_key": "load-1", "dynamic_key": str(task if key is None else key), "name": f"load-{task}",
        "run_count": step // 2, "start_time": at if type == "RUNNING" else None, "total_run_time": step * 1.5,
    }  # fmt: skip
    event = {
        "id": an_id(100 * task + step, 0xE),
        "occurred": at,
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{an_id(task, 2)}",
            "prefect.orchestration": "client",
        },
        "payload": {
            "validated_state": {"type": type, "name": None, "message": f"step {step}"},
            "task_run": run,
        },
    }
    read = task_run_events.read(event)
    assert read is not None
    return read
