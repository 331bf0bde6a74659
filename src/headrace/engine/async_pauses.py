"""Pauses of async flows: as ``pauses``, but the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from .pauses import SLICE_S, UNANSWERED, Asked, Waiting, suspend_if_asked, suspendable
from .run import FlowRun, Run


async def await_here(run: FlowRun, wanted: Any, timeout: float | None, poll: float, key: str | None) -> Any:
    """As :func:`wait_here`, in the running event loop."""
    asked = Asked(run, wanted, key, timeout)
    answer = asked.known_answer()
    if answer is not UNANSWERED:
        return answer
    waiting = Waiting(asked)
    while not waiting.is_over():  # noqa: ASYNC110  # a file tells no event
        await asyncio.sleep(poll)
    return waiting.value


async def async_sleep(run: Run, seconds: float) -> None:
    """As :func:`sleep`, in the running event loop."""
    flow_run = suspendable(run)
    if flow_run is None:
        await asyncio.sleep(seconds)
        return
    ends = time.monotonic() + seconds
    suspend_if_asked(flow_run)
    while (left := ends - time.monotonic()) > 0:
        await asyncio.sleep(min(left, SLICE_S))
        suspend_if_asked(flow_run)
