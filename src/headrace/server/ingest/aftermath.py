"""What follows when an attempt crashed: another attempt while the budget lasts, and a brake on crash loops.

Deployments are locked before the runs are written: the server's one order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from headrace.model.attempts import Brake, brake, counts_as_crash, ended_unasked, next_try
from headrace.model.runs import report
from headrace.server.store import brakes, logs
from headrace.server.store.runs import Known

_LOGGER = "headrace.server"
_WARNING = 30


def follow(
    connection: Connection,
    ended: Sequence[Known],
    told: Mapping[str, dict[str, Any]],
    new_id: Callable[[int], str],
    now_us: int,
    *,
    kept: Any = brakes,
) -> list[tuple[str, logs.Line]]:
    """Give crashed runs of deployments their next attempt; return lines for the logs of runs, as ``(run, line)``.

    ``kept`` is where brakes are kept, for who keeps them elsewhere than in tables.
    ``told`` is what the runs' own processes just told of their ``empirical_policy``. A run whose deployment is
    braked is not tried again: what crashes again and again needs somebody to look.
    """
    lines: list[tuple[str, logs.Line]] = []
    for known in sorted(_to_follow(ended), key=lambda one: one.deployment or ""):
        assert known.deployment is not None and known.run.state is not None
        state = known.run.state
        braked = None
        if counts_as_crash(state):
            braked = _count(connection, known, now_us, kept)
        if braked is not None:
            lines.append((known.run.id, _line(state.t, braked)))
            continue
        policy = told.get(known.run.id, known.policy or {})
        following = next_try(known.run.history, state, policy, id=new_id(now_us), now_us=now_us)
        if following is not None:
            report(known.run, following)
    return lines


def _to_follow(ended: Sequence[Known]) -> list[Known]:
    return [
        known
        for known in ended
        if known.deployment is not None and known.run.state is not None and ended_unasked(known.run.state)
    ]


def _count(connection: Connection, known: Known, now_us: int, kept: Any) -> str | None:
    """Count a crash of a deployment; return why it is paused now, if this one was too many."""
    assert known.deployment is not None
    row = kept.lock(connection, known.deployment)
    if row is None:
        return None
    if row["paused"]:
        reason: str | None = row["pause_reason"]  # a brake gives one, a person none
        return reason
    rule = Brake(**row["crash_brake"]) if row["crash_brake"] else Brake()
    if rule.crashes <= 0:
        return None
    crashes, too_many = brake(row["crashes_us"] or [], now_us, rule)
    if not too_many:
        kept.count(connection, known.deployment, crashes)
        return None
    why = (
        f"{rule.crashes} crashes within {rule.seconds:g} s: the deployment's schedules are paused and its crashed "
        "runs are not tried again by themselves. Find the cause, then `headrace deployment resume` it."
    )
    kept.pull(connection, known.deployment, why, now_us)
    return why


def _line(at_us: int, message: str) -> logs.Line:
    return logs.Line(at_us + 1, _WARNING, _LOGGER, message, None, 0)
