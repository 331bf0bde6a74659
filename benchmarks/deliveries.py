"""How many small deliveries a second a server takes in from sixteen supervisors at once, on each database.

Each journal comes in two pieces, a run's beginning and its end, over HTTP: that is what most supervisors have to tell.
"""

from __future__ import annotations

import http.client
import threading
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from headrace.model import entries
from headrace.model.ids import IdFactory

from .databases import served
from .measure import Measurement, Row, Samples
from .side import Side

SUPERVISORS, _RUNS, _REPETITIONS = 16, 60, 5
ROWS = {
    kind: Row(
        f"small deliveries of journals a second on {kind}, from {SUPERVISORS} supervisors at once, one server process",
        "/s",
        250,
    )
    for kind in ("SQLite", "PostgreSQL")
}

_new_id = IdFactory().new


class _Journal(NamedTuple):
    """A whole run in two pieces."""

    id: str
    pieces: list[bytes]


def take(side: Side) -> Samples:
    """Send the journals of some thousand runs, again and again to one growing database."""
    values: Samples = {}
    for kind, row in ROWS.items():
        with served(side, kind) as (_, server):
            rates = [_rate(server.api) for _ in range(_REPETITIONS + 1)]
        values[row.title] = rates[1:]  # the first warms up
    return values


def _rate(api: str) -> float:
    journals = [[_journal() for _ in range(_RUNS)] for _ in range(SUPERVISORS)]
    refused: list[int] = []
    threads = [threading.Thread(target=_send, args=(api, some, refused)) for some in journals]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if refused:
        raise RuntimeError(f"{len(refused)} deliveries were refused, the first with {refused[0]}.")
    return 2 * _RUNS * SUPERVISORS / seconds


def _send(api: str, journals: list[_Journal], refused: list[int]) -> None:
    place = urlsplit(api)
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    for journal in journals:
        held = 0
        for piece in journal.pieces:
            connection.request("PUT", f"{place.path}/journals/{journal.id}?offset={held}", piece)
            answer = connection.getresponse()
            answer.read()
            held += len(piece)
            if answer.status != 200:
                refused.append(answer.status)
    connection.close()


def _journal() -> _Journal:
    t = time.time_ns() // 1000
    id, run = _new_id(t), _new_id(t)
    first: list[entries.Entry] = [
        entries.Open(id, t, (t * 1000, 0), 7, 7, "boot", "mill"),
        entries.FlowRun(run, t, "measured", "swift-otter"),
        entries.State(run, t + 1, "RUNNING"),
        entries.Log(t + 2, 20, "headrace.flow_runs", "Began, a run of flow 'measured'", run),
    ]
    last: list[entries.Entry] = [
        entries.Log(t + 8, 20, "headrace.flow_runs", "Ended as Completed", run),
        entries.State(run, t + 9, "COMPLETED"),
        entries.Exit(t + 10, 0),
    ]
    return _Journal(id, [b"".join(entries.encode(one) + b"\n" for one in some) for some in (first, last)])


MEASUREMENT = Measurement(list(ROWS.values()), take, peer=False)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
