"""Rows 1 to 15 under a worker: how a flow's own code, or a signal, ends a run."""

from __future__ import annotations

from .crew import Crew
from .house import evidence_of, history_of, state_of


def test_row_01_returns(crew: Crew) -> None:
    """A flow that returns is Completed, and so are its tasks."""
    run = crew.carry_out("""
        from headrace import flow, task

        @task
        def double(x):
            return 2 * x

        @flow
        def main(x: int = 4):
            return double(x)
    """).end(within=1.0)

    assert state_of(run) == ("COMPLETED", "Completed")
    assert history_of(run)[-2:] == ["Running", "Completed"]
    assert evidence_of(run) == {}
    assert [state_of(task) for task in crew.tasks(run["id"])] == [("COMPLETED", "Completed")]
