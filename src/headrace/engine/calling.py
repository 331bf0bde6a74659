"""One name for sync and async code: a plain call where it may block, something to await within a running loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .run import current_run

T = TypeVar("T")


def is_awaited() -> bool:
    """Whether the caller is async code: a loop runs in this thread, and not for the sake of a sync flow or task."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    run = current_run.get()
    return run is None or inspect.iscoroutinefunction(run.fn)


def here_or_awaited(work: Callable[[], T]) -> T:
    """Return what ``work`` returns; in async code return an awaitable of it, and let a thread do the work."""
    if is_awaited():
        waiting: Any = asyncio.to_thread(work)  # typed as what sync callers get; async ones have the a-names
        return waiting  # type: ignore[no-any-return]
    return work()
