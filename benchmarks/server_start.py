"""A server's start to its first healthy answer, on an empty home and on one that has its database."""

from __future__ import annotations

from .measure import Measurement, Row, Samples, private_home
from .servers import serving
from .side import Side

EMPTY = Row("server start to first healthy answer, empty home", "s", 2)
MIGRATED = Row("server start to first healthy answer, migrated home", "s", 1)
_REPETITIONS = {False: 5, True: 2}


def take(side: Side) -> Samples:
    """Start, stop and start again, in a new home each time; one start before, not counted, warms up."""
    samples: Samples = {EMPTY.title: [], MIGRATED.title: []}
    with private_home() as home, serving(side, home):
        pass
    for _ in range(_REPETITIONS[side.is_peer]):
        with private_home() as home:
            for row in (EMPTY, MIGRATED):
                with serving(side, home) as server:
                    samples[row.title].append(server.seconds)
    return samples


MEASUREMENT = Measurement([EMPTY, MIGRATED], take, peer=True)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
