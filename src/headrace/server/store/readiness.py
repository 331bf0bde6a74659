"""Who is there: what the last sign of life of workers and pollers says of pools, queues and deployments.

Nothing of this is kept: a status that is worked out when it is asked for cannot be out of date.
"""

from __future__ import annotations

HEARTBEAT_S = 30
"""How often a worker gives a sign of life that does not say how often."""

MISSED_HEARTBEATS = 3
"""After so many intervals without one a worker counts as gone."""

POLLED_WITHIN_S = 60
"""So long ago at most must somebody have asked for runs of what is to count as ready."""


def worker_is_online(last_heartbeat_us: int, interval_s: int | None, now_us: int) -> bool:
    """Say whether a worker counts as alive; ``interval_s`` is what it promised, ``None`` what is usual."""
    allowed_us = (interval_s or HEARTBEAT_S) * MISSED_HEARTBEATS * 1_000_000
    return last_heartbeat_us >= now_us - allowed_us


def is_polled(last_polled_us: int | None, now_us: int) -> bool:
    """Say whether somebody asks for runs."""
    return last_polled_us is not None and last_polled_us >= now_us - POLLED_WITHIN_S * 1_000_000


def status(*, paused: bool, ready: bool) -> str:
    """Return the contract's word for a pool or a queue."""
    if paused:
        return "PAUSED"
    return "READY" if ready else "NOT_READY"
