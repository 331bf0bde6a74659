"""Seeded storms over the product's own rules: nothing is lost, doubled, held or misjudged; planted bugs are found."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.told import NAME

from .bugs import Bug
from .simulation import LARGE, simulate

ROOT = Path(__file__).parents[2]

BUDGET_S = 55.0
"""Seconds for which seeds are tried, up to ``MOST`` of them."""

MOST = 2_000
LEAST = 50
"""Even a machine that is busy otherwise tries so many."""


@pytest.mark.timeout(300)  # a busy machine needs longer for the least that must be tried
def test_no_storm_leaves_anything_behind(record_property: pytest.RecordProperty) -> None:
    """Every run in the state it earned, each byte once, no slot held, limits and budgets kept, each time planned once."""
    until = time.monotonic() + BUDGET_S
    met: Counter[str] = Counter()
    tried = 0
    while tried < MOST and (tried < LEAST or time.monotonic() < until):
        tried += 1
        outcome = simulate(tried)
        met.update(outcome.seen)
        assert outcome.violation is None, f"make simulate SEED={tried} RUNS=1 VERBOSE=1: {outcome.violation}"
    record_property(NAME, f"{tried} seeds without a violation; they met {dict(met)}")

    # a storm that meets nothing proves nothing
    assert all(
        met[name] > 0
        for name in ("lost", "late facts", "crashes", "second attempts", "cancels", "torn", "unwritten")
    )


@pytest.mark.parametrize("bug", list(Bug))
def test_a_planted_bug_is_found(bug: Bug, record_property: pytest.RecordProperty) -> None:
    """Within a hundred seeds, of which none finds anything in the rules as they are."""
    found = next((seed for seed in range(1, 101) if simulate(seed, bug=bug).violation is not None), None)

    assert found is not None
    assert simulate(found).violation is None
    record_property(NAME, f"found by seed {found}")


def test_a_seed_is_replayed_exactly_in_another_process() -> None:
    """Whatever hashes, addresses and clocks are there: the trace is the same to the last event."""
    script = "from tests.simulation.simulation import simulate\nfor s in (3, 4): print(simulate(s).hash)"
    traces = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, text=True, capture_output=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip

    assert traces[0] == traces[1] == "".join(f"{simulate(seed).hash}\n" for seed in (3, 4))
    assert simulate(3).hash != simulate(4).hash


@pytest.mark.timeout(300)
def test_three_months_of_two_thousand_workers(record_property: pytest.RecordProperty) -> None:
    """Far faster than time itself, so that what is rare is met."""
    outcome = simulate(1, size=LARGE)

    assert outcome.violation is None, f"make simulate SEED=1 RUNS=1 LARGE=1: {outcome.violation}"
    assert outcome.runs > 3000
    assert outcome.virtual_s / outcome.real_s > 1000
    days = f"{outcome.virtual_s / 86400:.0f} days, {outcome.runs} runs, {outcome.events} events"
    record_property(NAME, f"{days} in {outcome.real_s:.0f} s")
