"""What follows an attempt that ended badly: another one, or not. Pure rules.

``retries`` is one budget: a failure that the run's own process tries again, and a crash after which a worker
starts another process, both take from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .clock import iso
from .resolve import Rank, StateRow
from .retries import retry_delay
from .states import is_over

RETRY_ON = ("failed", "crashed")
"""What is tried again unless a flow says otherwise. ``lost`` is not: such a run may be alive."""

AUTOMATIC = "automatic_retry"
"""Marks, in a state's details, a next try that nobody had to ask for."""


class Brake(NamedTuple):
    """How many crashes within how many seconds pause a deployment."""

    crashes: int = 5
    seconds: float = 600.0


def tries_used(history: Sequence[StateRow]) -> int:
    """Return how many retries of its budget a run has used; somebody who plans it again gives it a new budget."""
    used = 0
    for row in history:
        if row.type != "SCHEDULED":
            continue
        by_itself = row.rank == Rank.FACT or AUTOMATIC in (row.details or {})
        if row.name == "AwaitingRetry" and by_itself:
            used += 1
        elif row.name == "AwaitingRetry":
            used = 0
    return used


def next_try(
    history: Sequence[StateRow], ended: StateRow, policy: dict[str, Any], *, id: str, now_us: int
) -> StateRow | None:
    """Return the state of the next attempt of a run whose process is gone, or ``None`` when there is to be none.

    ``ended`` is the state that stands; ``policy`` the run's ``empirical_policy``.
    """
    kind = _kind(ended)
    wanted = policy.get("retry_on") or RETRY_ON
    retries = policy.get("retries") if policy.get("retries") is not None else policy.get("max_retries")
    used = tries_used(history)
    if kind is None or kind not in wanted or used >= (retries or 0):
        return None
    spec = policy.get("retry_delay") if policy.get("retry_delay") is not None else 0
    delay = retry_delay(spec, used + 1)
    when = max(now_us, ended.t)
    details = {"scheduled_time": iso(when + int(delay * 1_000_000)), AUTOMATIC: True}
    message = f"Attempt {ended.attempt} ended as {ended.name}: {ended.message or ''}".rstrip(": ")
    return StateRow(
        id, "SCHEDULED", "AwaitingRetry", when + 1, Rank.PROPOSAL, ended.attempt + 1, 0, message, details
    )


def ended_unasked(state: StateRow) -> bool:
    """Say whether others than its own process or a person told that the run ended: another attempt may follow."""
    return is_over(state.type, state.name) and state.rank in (Rank.VERDICT, Rank.PRESUMPTION)


def counts_as_crash(state: StateRow) -> bool:
    """Say whether a state counts for the brake: its supervisor saw the process crash; a silence may be the network's."""
    return state.type == "CRASHED" and state.rank == Rank.VERDICT


def _kind(ended: StateRow) -> str | None:
    if ended.rank == Rank.PRESUMPTION:
        return "lost" if ended.type == "CRASHED" else None
    if ended.rank != Rank.VERDICT:
        return None  # what its own process reported it has decided itself
    return {"CRASHED": "crashed", "FAILED": "failed"}.get(ended.type)


def brake(crashes_us: Sequence[int], now_us: int, rule: Brake) -> tuple[list[int], bool]:
    """Count one more crash; return the times that still count, and whether they are too many."""
    since = now_us - int(rule.seconds * 1_000_000)
    kept = [*(at for at in crashes_us if at > since), now_us][-max(rule.crashes, 1) :]
    return kept, len(kept) >= rule.crashes
