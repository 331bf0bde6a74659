"""What 1,000,000 task runs cost one server process beside 10,000: ``python -m benchmarks.growth [KIND] [--runs N]``.

The same server takes in whole flow runs of a thousand task runs each, as supervisors send them, and is measured when it
has the first ten thousand and when it has all: how fast it takes more in, what is on disk, how soon it lists and counts,
how much memory its process holds. Then it takes in log lines.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from typing import NamedTuple

import psutil

from headrace.settings import load

from . import journals, machine, questions
from .databases import KINDS, Place, served
from .measure import Measurement, Row, Samples, median
from .servers import Server
from .side import OURS, Side
from .stories import Teller

FEW, MANY = 10_000, 1_000_000
_TASKS, _LINES = 1_000, 2_000
_AT_ONCE = 4
_TIMED = 40
"""Journals over which the rate is taken: from 10,000 on, and up to 1,000,000."""
_DAYS = 10
"""Over so many days the million is spread, ending now."""
_OPEN = 8
"""Task runs that the last flow run has not ended."""


class _Cost(NamedTuple):
    """One thing that is to stay as it is while the database grows."""

    name: str
    unit: str
    floor: float


_INGEST = _Cost("task runs a second taken in, one server process", "/s", 8_000)
_TASK_BYTES = _Cost("bytes on disk for a task run", "B", 400)
_LINE_BYTES = _Cost("bytes on disk for a log line of 100 characters", "B", 25)
_LISTING = _Cost("listing 50 task runs, the slowest question", "ms", 30)
_COUNTING = _Cost("counting task runs for a dashboard, the slowest question", "ms", 30)
_MEMORY = _Cost("the server's memory", "MB", 200)
_PROCESSOR = _Cost("processor time for a task run taken in, the server's and the database's", "µs", 125)
"""Stands for the rate where growth is told: it is the same on a busy machine. One processor does 8,000 such a second."""
COSTS = (_INGEST, _PROCESSOR, _TASK_BYTES, _LINE_BYTES, _LISTING, _COUNTING, _MEMORY)

_GROWTH = 1.5

Figures = dict[_Cost, float]


def _at(kind: str, cost: _Cost) -> Row:
    return Row(f"at 1,000,000 on {kind}: {cost.name}", cost.unit, cost.floor)


def _grown(kind: str, cost: _Cost) -> Row:
    return Row(f"growth from 10,000 to 1,000,000 on {kind}: {cost.name}", "×", _GROWTH)


ROWS = [
    *(_at(kind, cost) for kind in KINDS for cost in COSTS),
    *(_grown(kind, cost) for kind in KINDS for cost in COSTS if cost is not _INGEST),
]


def take(side: Side) -> Samples:
    """Let a server grow on each database."""
    samples: Samples = {}
    for kind in KINDS:
        few, many = measure(side, kind, MANY)
        for cost in COSTS:
            samples[_at(kind, cost).title] = [many[cost]]
            if cost is not _INGEST:
                samples[_grown(kind, cost).title] = [many[cost] / few[cost]]
    return samples


def measure(side: Side, kind: str, runs: int) -> tuple[Figures, Figures]:
    """Return what a server on one database costs at 10,000 and at ``runs``."""
    with served(side, kind) as (place, server):
        growing = _Growing(side, place, server, runs)
        few = growing.first()
        many = growing.last()
        few[_LINE_BYTES], many[_LINE_BYTES] = growing.lines()
    return few, many


class _Growing:
    """A server that is given more and more."""

    def __init__(self, side: Side, place: Place, server: Server, runs: int) -> None:
        self._settings = load(side.environment(place.home))
        self._place, self._server, self._runs = place, server, runs
        self._process = psutil.Process(server.pid)
        self._teller = Teller(1)
        self._held = 0
        self._begin_us = time.time_ns() // 1_000 - _DAYS * 86_400_000_000
        self._apart_us = _DAYS * 86_400_000_000 * _TASKS // runs
        self._empty = place.bytes("task_runs")

    def first(self) -> Figures:
        """Return what it costs at 10,000."""
        self._fill(FEW)
        found = self._look()
        self._sent(1)  # the questions made its caches theirs
        return found | self._rate()

    def last(self) -> Figures:
        """Return what it costs in the end."""
        self._fill(self._runs - _TIMED * _TASKS)
        return self._rate() | self._look()

    def lines(self) -> tuple[float, float]:
        """Return what a log line takes on disk, of 10,000 and of as many as there are task runs."""
        empty, held, found = self._place.bytes("log_chunks"), 0, []
        t = self._begin_us + _DAYS * 86_400_000_000 - 3_600_000_000
        for upto in (FEW, self._runs):
            while held < upto:
                some = [self._teller.of_logs(t, _LINES) for _ in range(min(50, (upto - held) // _LINES))]
                journals.send(self._settings, self._server.api, some, at_once=_AT_ONCE)
                held += len(some) * _LINES
            found.append((self._place.bytes("log_chunks") - empty) / held)
        return found[0], found[1]

    def _fill(self, upto: int) -> None:
        while self._held < upto:
            self._sent(min(_TIMED, (upto - self._held) // _TASKS))

    def _sent(self, count: int) -> float:
        """Send so many journals; return the seconds it took."""
        some = []
        for _ in range(count):
            self._held += _TASKS
            t = self._begin_us + self._held // _TASKS * self._apart_us - 120_000_000
            left = _OPEN if self._held in (FEW, self._runs) else 0
            some.append(self._teller.of_tasks(t, _TASKS, open_runs=left))
        return journals.send(self._settings, self._server.api, some, at_once=_AT_ONCE)

    def _rate(self) -> Figures:
        before = self._processor_s()
        seconds = self._sent(_TIMED)
        sent = _TIMED * _TASKS
        each = [(now - then) / sent * 1e6 for now, then in zip(self._processor_s(), before, strict=True)]
        _tell(
            f"{self._place.kind} at {self._held:,}: {sent / seconds:,.0f} task runs a second; processor time for each: "
            f"{each[0]:.0f} µs of the server, {each[1]:.0f} µs of PostgreSQL; load {machine.load()}"
        )
        return {_INGEST: sent / seconds, _PROCESSOR: sum(each)}

    def _processor_s(self) -> tuple[float, float]:
        return sum(self._process.cpu_times()[:2]), self._place.processor_s()

    def _look(self) -> Figures:
        """Return what does not change what is measured: sizes, answers, memory."""
        found: Figures = {_TASK_BYTES: (self._place.bytes("task_runs") - self._empty) / self._held}
        self._place.settle()
        with closing(questions.Asker(self._server.port)) as ask:
            flow_run = ask("/flow_runs/filter", {"sort": "ID_DESC", "limit": 1, "offset": 3})[0]["id"]
            since_us = self._begin_us + int(self._held / _TASKS * self._apart_us * 0.9)
            since = datetime.fromtimestamp(since_us / 1e6, tz=timezone.utc).isoformat()
            for cost, asked in (
                (_LISTING, questions.lists_of_task_runs(flow_run)),
                (_COUNTING, questions.counts_of_task_runs(flow_run, since)),
            ):
                found[cost] = max(self._times(ask, asked))
        memory = self._process.memory_full_info()
        found[_MEMORY] = memory.uss / 1e6
        _tell(
            f"{self._place.kind} at {self._held:,}: {found[_TASK_BYTES]:.0f} bytes for a task run; the server holds "
            f"{memory.uss / 1e6:.0f} MB of its own, {memory.rss / 1e6:.0f} MB with what it shares"
        )
        return found

    def _times(self, ask: questions.Asker, asked: list[questions.Question]) -> Iterator[float]:
        for question in asked:
            values = ask.times_ms(question)
            questions.tell(f"{self._place.kind} at {self._held:,}", question, values)
            yield median(values)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


MEASUREMENT = Measurement(ROWS, take)


def main() -> None:
    """Measure one database or both, and tell every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=KINDS, help="measure only this")
    parser.add_argument("--runs", type=int, default=MANY)
    chosen = parser.parse_args()
    for kind in [chosen.kind] if chosen.kind else KINDS:
        before = machine.load()
        few, many = measure(OURS, kind, chosen.runs)
        print(
            f"{kind}, {FEW:,} and {chosen.runs:,}; load average {before}, then {machine.load()}; {machine.describe()}"
        )
        for cost in COSTS:
            told = f"{few[cost]:10,.1f} {many[cost]:10,.1f} {cost.unit:3} {many[cost] / few[cost]:6.2f} ×"
            print(f"{told}  {cost.name}")


if __name__ == "__main__":
    main()
