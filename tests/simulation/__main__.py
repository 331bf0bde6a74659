"""Simulate: ``make simulate SEED=7 RUNS=1000`` tries so many seeds from the first on, and replays what goes wrong."""

from __future__ import annotations

import argparse
import sys
import time

from .bugs import Bug
from .simulation import LARGE, SMALL, simulate


def main() -> int:
    """Try seeds; print those that violate something, with the way to see them again."""
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--bug", choices=[bug.value for bug in Bug])
    parser.add_argument("--verbose", action="store_true", help="print the whole trace")
    parser.add_argument(
        "--large", action="store_true", help="three months of two thousand workers for each seed"
    )
    asked = parser.parse_args()
    size = LARGE if asked.large else SMALL
    bug = Bug(asked.bug) if asked.bug else None
    began, virtual_s, events, wrong = time.perf_counter(), 0.0, 0, 0
    seen: dict[str, int] = {}
    for seed in range(asked.seed, asked.seed + asked.runs):
        outcome = simulate(seed, size=size, bug=bug, verbose=asked.verbose)
        virtual_s += outcome.virtual_s
        events += outcome.events
        for name, count in outcome.seen.items():
            seen[name] = seen.get(name, 0) + count
        if outcome.violation is not None:
            wrong += 1
            print(f"seed {seed} (trace {outcome.hash}): {outcome.violation}")
            print(f"  again, step by step: make simulate SEED={seed} RUNS=1 VERBOSE=1")
    real_s = time.perf_counter() - began
    print(
        f"{asked.runs} seeds, {events} events, {virtual_s / 86400:.1f} days in {real_s:.1f} s "
        f"({virtual_s / real_s:,.0f} times real time); {wrong} violations; met: {seen}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
