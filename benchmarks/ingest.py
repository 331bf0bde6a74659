"""How fast a server takes task runs in, three states each, on each database."""

from __future__ import annotations

import json
import urllib.request

from headrace.settings import load

from . import journals
from .databases import served
from .measure import Measurement, Row, Samples
from .side import Side

ROWS = {
    kind: Row(f"ingest on {kind}, task runs a second (each with 3 states), one server process", "/s", floor)
    for kind, floor in (("SQLite", 10_000), ("PostgreSQL", 8_000))
}
_JOURNALS, _TASKS, _REPETITIONS = 4, 10_000, 5


def take(side: Side) -> Samples:
    """Send four journals of 10,000 task runs side by side, again and again to one growing database."""
    return {row.title: _rates(side, kind) for kind, row in ROWS.items()}


def _rates(side: Side, kind: str) -> list[float]:
    values = []
    with served(side, kind) as (place, server):
        settings = load(side.environment(place.home))
        for repetition in range(_REPETITIONS + 1):
            batch = [journals.of_tasks(_TASKS) for _ in range(_JOURNALS)]
            seconds = journals.send(settings, server.api, batch)
            if repetition:  # the first warms up
                values.append(_JOURNALS * _TASKS / seconds)
        _check(server.api, (_REPETITIONS + 1) * _JOURNALS * _TASKS)
    return values


def _check(api: str, wanted: int) -> None:
    """Refuse a fast answer that kept nothing."""
    asked = json.dumps({"task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}).encode()
    request = urllib.request.Request(
        f"{api}/task_runs/count", asked, {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        found = json.load(answer)
    if found != wanted:
        raise RuntimeError(f"{wanted} task runs were sent, {found} are on record as completed.")


MEASUREMENT = Measurement(list(ROWS.values()), take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
