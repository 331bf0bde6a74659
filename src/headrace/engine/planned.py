"""Run a flow as a server planned it: under the run's own id, name and parameters."""

from __future__ import annotations

import asyncio
from typing import Any

from ..model import entries
from ..model.orders import Order
from . import logs, writing
from .driver import drive
from .flow import Flow, patch_print, stop_runner
from .lifecycle import failure
from .recorder import Recorder
from .run import FlowRun
from .state import State
from .tracebacks import evidence, headline

current_order: Order | None = None
"""What this process was started for; ``None`` in a script."""


def use(order: Order | None) -> None:
    """Make an order this process's."""
    global current_order
    current_order = order


def run_planned(flow: Flow[Any, Any], order: Order, recorder: Recorder) -> State[Any]:
    """Carry out the planned run and return the state that it earned."""
    planned = order.claim.run
    run = FlowRun(flow, recorder, (), dict(planned.parameters), None, frozenset(planned.tags))
    run.planned, run.id, run.name = planned, planned.id, planned.name
    run.answered = dict(planned.answered)
    run.deployment_id = order.claim.deployment.id if order.claim.deployment is not None else None
    run.retries, run.retry_delay = flow.retries, flow.retry_delay_seconds
    run.timeout = flow.timeout_seconds
    run.log_prints = recorder.settings.logging_log_prints if flow.log_prints is None else flow.log_prints
    if run.log_prints:
        patch_print()
    try:
        run.parameters = flow.bound(planned.parameters)
    except Exception as error:  # what was planned does not fit the code that there is now
        state = failure(run, error)
        writing.write_state(run, state)
        return state
    if flow.isasync:
        return asyncio.run(_drive_async(run))
    state = drive(run)
    stop_runner(run)
    return state


async def _drive_async(run: FlowRun) -> State[Any]:
    from .async_driver import drive_async  # asyncio is heavy, and sync flows need none

    state = await drive_async(run)
    stop_runner(run)
    return state


def report_unloadable(order: Order, recorder: Recorder, error: BaseException, tried: str | None) -> None:
    """Write down that a planned run has failed because its code could not be loaded (row 16 of the verdicts)."""
    run, now = order.claim.run.id, recorder.now()
    found = {"exception": evidence(error), **({"tried": tried} if tried else {})}
    type, name, message = "FAILED", "LoadError", headline(error)
    if isinstance(error, KeyboardInterrupt):  # not the code's fault: as when it comes to the flow itself
        type, name, message = "CANCELLED", "Interrupted", "Interrupted by SIGINT while its code was loaded."
    recorder.record(
        entries.State(run, now, type, name, message, {"evidence": found}),
        entries.Log(now, 40, logs.FLOW_LOGGER.name, f"Ended as {name}: {message}", run),
        keep=True,
    )
