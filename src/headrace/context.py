"""What runs here: the running flow, the running task, and tags for what is called within."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .engine.run import FlowRun, Run, TaskRun, current_run, current_tags
from .errors import MissingContextError

FlowRunContext = FlowRun
TaskRunContext = TaskRun


@contextlib.contextmanager
def tags(*new_tags: str) -> Iterator[set[str]]:
    """Add tags to every flow run and task run that is called within; yields all tags in force."""
    all_tags = current_tags.get() | frozenset(new_tags)
    token = current_tags.set(all_tags)
    try:
        yield set(all_tags)
    finally:
        current_tags.reset(token)


def get_run_context() -> Run:
    """Return the running task run, or the running flow run.

    Raises:
        MissingContextError: neither runs here.
    """
    run = current_run.get()
    if run is None:
        raise MissingContextError("There is no running flow or task here. Call this inside one.")
    return run
