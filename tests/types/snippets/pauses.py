"""What a pause asks for is what it returns."""

from __future__ import annotations

from typing_extensions import reveal_type

from headrace import (
    apause_flow_run,
    asuspend_flow_run,
    flow,
    pause_flow_run,
    resume_flow_run,
    suspend_flow_run,
)
from headrace.flow_runs import wait_for_flow_run
from headrace.input import RunInput


class Approval(RunInput):
    approved: bool


@flow
def asks() -> None:
    reveal_type(pause_flow_run(wait_for_input=Approval))  # reveal: Approval
    reveal_type(pause_flow_run(wait_for_input=int))  # reveal: int
    wanted = Approval.with_initial_data(approved=True)
    reveal_type(suspend_flow_run(wait_for_input=wanted))  # reveal: Approval
    pause_flow_run()
    suspend_flow_run(flow_run_id="id")
    suspend_flow_run(wait_for_input=int, flow_run_id="id")  # error: No overload variant
    pause_flow_run(timeout="an hour")  # error: No overload variant
    resume_flow_run("id", run_input={"approved": True})
    reveal_type(wait_for_flow_run("id"))  # reveal: RecordedFlowRun


@flow
async def awaits() -> None:
    reveal_type(await apause_flow_run(wait_for_input=str))  # reveal: str
    await asuspend_flow_run()
