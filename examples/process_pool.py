"""Use every processor: tasks that compute go to processes instead of threads.

python process_pool.py
"""

from __future__ import annotations

import math
import os

from headrace import flow, task
from headrace.task_runners import ProcessPoolTaskRunner


@task
def count_primes(start: int, end: int) -> tuple[int, int]:
    """Return how many primes there are from ``start`` up to ``end``, and the process that counted."""
    primes = sum(
        all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
        for number in range(max(start, 2), end)
    )
    return primes, os.getpid()


@flow(task_runner=ProcessPoolTaskRunner(max_workers=2), log_prints=True)
def primes_below(limit: int, slices: int = 8) -> int:
    """Count the primes below a limit, slice by slice, in two processes."""
    step = math.ceil(limit / slices)
    starts = list(range(0, limit, step))
    futures = count_primes.map(starts, [min(start + step, limit) for start in starts])
    counts = futures.result()
    total = sum(primes for primes, _ in counts)
    print(f"{total:,} primes below {limit:,}, counted by {len({pid for _, pid in counts})} processes")
    return total


if __name__ == "__main__":  # needed here: the processes of the pool import this file
    primes_below(200_000)
