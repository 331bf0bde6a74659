"""The law of runs: every edge a run's own process or its supervisor may write, as data.

From it come the check in ``tests/model``, the diagram in ``docs/reference/states.md`` and nothing else
decides. What a person or a foreign client may *ask* is ``server/orchestration``.
"""

from __future__ import annotations

from typing import NamedTuple

from .states import StateType as S


class Edge(NamedTuple):
    """One permitted change of state."""

    before: S | None
    """``None``: the run does not exist yet."""
    verb: str
    after: S
    why: str


EDGES: tuple[Edge, ...] = (
    Edge(None, "create", S.PENDING, "a flow or task was called"),
    Edge(None, "schedule", S.SCHEDULED, "a run was planned for later"),
    Edge(S.SCHEDULED, "claim", S.PENDING, "a worker took it"),
    Edge(S.SCHEDULED, "retry", S.RUNNING, "the wait before a retry is over"),
    Edge(S.SCHEDULED, "pause", S.PAUSED, "it was asked to suspend while it waited for its retry"),
    Edge(S.SCHEDULED, "cancel", S.CANCELLED, "somebody asked before it began again"),
    Edge(S.SCHEDULED, "crash", S.CRASHED, "its process died while it waited for its retry"),
    Edge(S.PENDING, "start", S.RUNNING, "user code begins"),
    Edge(S.PENDING, "fail", S.FAILED, "its parameters do not fit, or a hook refused it"),
    Edge(S.PENDING, "block", S.PENDING, "a run that it needs did not complete (NotReady)"),
    Edge(S.PENDING, "cancel", S.CANCELLED, "somebody asked before it began"),
    Edge(S.PENDING, "crash", S.CRASHED, "its process died before it began"),
    Edge(S.PENDING, "complete", S.COMPLETED, "an earlier result was taken"),
    Edge(S.RUNNING, "complete", S.COMPLETED, "user code returned"),
    Edge(S.RUNNING, "fail", S.FAILED, "user code raised, or its timeout passed"),
    Edge(S.RUNNING, "await retry", S.SCHEDULED, "it failed and retries remain"),
    Edge(S.RUNNING, "pause", S.PAUSED, "it waits for somebody"),
    Edge(S.RUNNING, "ask to cancel", S.CANCELLING, "somebody asked that it end"),
    Edge(S.RUNNING, "cancel", S.CANCELLED, "it was interrupted, or asked to end and did"),
    Edge(S.RUNNING, "crash", S.CRASHED, "its process ended without reporting"),
    Edge(S.PAUSED, "resume", S.RUNNING, "somebody let it go on"),
    Edge(S.PAUSED, "ask again", S.PAUSED, "what it was told did not fit"),
    Edge(S.PAUSED, "cancel", S.CANCELLED, "somebody asked that it end"),
    Edge(S.PAUSED, "fail", S.FAILED, "its timeout_seconds passed while it waited"),
    Edge(S.PAUSED, "crash", S.CRASHED, "its process died while it waited"),
    Edge(S.CANCELLING, "cancel", S.CANCELLED, "it ended as asked, or was killed after its grace time"),
    Edge(S.CANCELLING, "complete", S.COMPLETED, "it returned before it heard"),
    Edge(S.CANCELLING, "fail", S.FAILED, "it failed before it heard"),
    Edge(S.CANCELLING, "crash", S.CRASHED, "its process died while it was ending"),
)

ALLOWED: frozenset[tuple[str | None, str]] = frozenset(
    (edge.before.value if edge.before else None, edge.after.value) for edge in EDGES
)


def is_allowed(before: str | None, after: str) -> bool:
    """Say whether a run may go from one type of state to another by its own account."""
    return (before, after) in ALLOWED
