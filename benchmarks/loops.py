"""Measurements that are a loop within a flow: the program times it, we collect."""

from __future__ import annotations

from .measure import private_home
from .processes import run
from .side import Side


def take_loop(side: Side, program: str, calls: int, repetitions: int) -> list[float]:
    """Return the microseconds of one call, a value for each repetition of ``calls`` calls."""
    with private_home() as home:
        ended = run(side.program(program, calls, repetitions), side.environment(home))
    return [float(line) * 1e6 for line in ended.output.split()]
