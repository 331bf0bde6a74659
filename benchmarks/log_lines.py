"""How fast a server on SQLite takes log lines in."""

from __future__ import annotations

from headrace.settings import load

from . import journals
from .measure import Measurement, Row, Samples, private_home
from .servers import serving
from .side import Side

ROW = Row("log lines a second taken in", "/s", 50_000)
_JOURNALS, _LINES, _REPETITIONS = 4, 50_000, 5


def take(side: Side) -> Samples:
    """Send four journals of 50,000 log lines side by side, again and again to one growing database."""
    values = []
    with private_home() as home, serving(side, home) as server:
        settings = load(side.environment(home))
        for repetition in range(_REPETITIONS + 1):
            batch = [journals.of_logs(_LINES) for _ in range(_JOURNALS)]
            seconds = journals.send(settings, server.api, batch)
            if repetition:  # the first warms up
                values.append(_JOURNALS * _LINES / seconds)
    return {ROW.title: values}


MEASUREMENT = Measurement([ROW], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
