""""""

from __future__ import annotations

from .loops import take_loop
from .measure import Measurement, Row, Samples
from .side import Side

ROW = Row("`task.submit` + `result`", "µs", 120)


def take(side: Side) -> Samples:
    """Run the loop of ``programs/task_submit.py`` within one flow."""
    calls, repetitions = (100, 3) if side.is_peer else (2_000, 9)
    return {ROW.title: take_loop(side, "task_submit", calls, repetitions)}


MEASUREMENT = Measurement([ROW], take, peer=True)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
