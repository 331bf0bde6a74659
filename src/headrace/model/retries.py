"""How long to wait before a retry."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

DelaySpec = float | int | Sequence[float] | None


def retry_delay(
    delays: DelaySpec, attempt: int, *, jitter: float | None = None, rng: Callable[[], float] = random.random
) -> float:
    """Return the seconds to wait before retry number ``attempt`` (the first is 1).

    A list gives each retry its own delay and its last one to all further ones. ``jitter`` spreads the
    delay evenly over ``[delay, delay * (1 + jitter)]``, so that many runs do not come back together.
    """
    if delays is None:
        base = 0.0
    elif isinstance(delays, (int, float)):
        base = float(delays)
    else:
        base = float(delays[min(attempt, len(delays)) - 1]) if delays else 0.0
    return max(0.0, base * (1 + jitter * rng()) if jitter else base)
