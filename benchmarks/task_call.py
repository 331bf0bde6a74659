""""""

from __future__ import annotations

from .loops import take_loop
from .measure import Measurement, Row, Samples
from .side import Side

ROW = Row("a task called directly, per call, recorded in the journal", "µs", 35)


def take(side: Side) -> Samples:
    """Run the loop of ``programs/task_call.py`` within one flow."""
    calls, repetitions = (100, 3) if side.is_peer else (5_000, 9)
    return {ROW.title: take_loop(side, "task_call", calls, repetitions)}


MEASUREMENT = Measurement([ROW], take, peer=True)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
