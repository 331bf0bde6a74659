"""Runs of a schedule begin at their time, whatever else goes on."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from .crew import Crew
from .house import share, until

EXACT_S = 0.1
"""How much later than its time a run may be given to a worker (the scheduler's promise, under load)."""

BUSY = 8
"""How many other runs live at once: load, but not more of it the slower the machine is."""

WRITES = """
    from headrace import flow, get_run_logger

    @flow
    def main():
        for number in range(200):
            get_run_logger().info("line %d", number)
"""


def moment(text: str) -> datetime:
    """Return a time as the API tells it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_runs_are_taken_at_their_time_under_load(crew: Crew) -> None:
    """Every second for some seconds, while other runs come and go: none later than 100 ms, none before its time."""
    anchor = (datetime.now(timezone.utc) + timedelta(seconds=2)).isoformat()
    schedule = {"schedule": {"interval": 1.0, "anchor_date": anchor}, "active": True}
    planned = crew.deploy(
        "from headrace import flow\n\n@flow\ndef main():\n    return 1\n", fields={"schedules": [schedule]}
    )
    busy = crew.deploy(WRITES)
    filters = {
        "deployments": {"id": {"any_": [planned.id]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }

    unended = {
        "deployments": {"id": {"any_": [busy.id]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}},
    }

    def ended() -> list[dict[str, object]]:
        if crew.client.post("/flow_runs/count", json=unended).json() < BUSY:
            crew.run(busy)
        found = crew.find("flow_runs", filters)
        return found if len(found) >= 5 else []

    runs = until(ended, "five planned runs to be carried out", told=crew.told)
    assert crew.client.patch(f"/deployments/{planned.id}", json={"paused": True}).status_code == 204

    late = []
    for run in runs:
        whole = crew.flow_run(str(run["id"]))
        assert whole is not None
        [taken] = [state for state in whole["state_history"] if state["name"] == "Pending"]
        late.append((moment(taken["timestamp"]) - moment(whole["expected_start_time"])).total_seconds())
    assert min(late) >= 0
    assert sorted(late)[len(late) // 2] <= EXACT_S * share()
    assert max(late) <= 3 * EXACT_S * share()
