""""""

from __future__ import annotations

from .loops import take_loop
from .measure import Measurement, Row, Samples
from .side import Side

ROW = Row("a sync subflow", "µs", 100)


def take(side: Side) -> Samples:
    """Run the loop of ``programs/subflow.py`` within one flow."""
    calls, repetitions = (3, 3) if side.is_peer else (1_000, 9)
    return {ROW.title: take_loop(side, "subflow", calls, repetitions)}


MEASUREMENT = Measurement([ROW], take, peer=True)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
