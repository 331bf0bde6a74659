"""The event that tells of a flow run's new state, as clients know it."""

from __future__ import annotations

from typing import Any

from headrace.model.clock import iso

Json = dict[str, Any]


def state_event(run: Json, before: Json | None, now_us: int) -> Json:
    """Return the event for a flow run that has entered the state it now has; ``run`` is the contract's object."""
    state = run["state"]
    return {
        "id": state["id"],
        "event": f"prefect.flow-run.{state['name']}",
        "occurred": state["timestamp"],
        "received": iso(now_us),
        "resource": {
            "prefect.resource.id": f"prefect.flow-run.{run['id']}",
            "prefect.resource.name": run["name"],
            "prefect.run-count": str(run["run_count"]),
            "prefect.state-message": state["message"] or "",
            "prefect.state-name": state["name"] or "",
            "prefect.state-timestamp": state["timestamp"],
            "prefect.state-type": state["type"],
        },
        "related": _related(run),
        "payload": {
            "intended": {"from": before["type"] if before else None, "to": state["type"]},
            "initial_state": _brief(before),
            "validated_state": _brief(state),
        },
        "follows": before["id"] if before else None,
    }


def _brief(state: Json | None) -> Json | None:
    if state is None:
        return None
    return {"type": state["type"], "name": state["name"], "message": state["message"] or ""}


def _related(run: Json) -> list[Json]:
    related = [
        {
            "prefect.resource.id": f"prefect.flow.{run['flow_id']}",
            "prefect.resource.role": "flow",
            "prefect.resource.name": run["flow_name"] or "",
        }
    ]
    for id, kind in ((run["deployment_id"], "deployment"), (run["work_queue_id"], "work-queue")):
        if id is not None:
            related.append({"prefect.resource.id": f"prefect.{kind}.{id}", "prefect.resource.role": kind})
    tags = (
        {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in run["tags"]
    )
    return [*related, *tags]
