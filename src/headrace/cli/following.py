"""Follow a flow run that goes on: its states and its log lines as they come, each told once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from operator import itemgetter
from typing import NamedTuple

import click

from headrace.client import calls
from headrace.client.calls import Json
from headrace.client.connection import Connection
from headrace.errors import ObjectNotFound
from headrace.model.states import TERMINAL

from . import explain
from .exits import Refusal
from .lines import log_line
from .output import duration
from .session import current

POLL_S = 0.5
"""Seconds between two looks at a run that is followed: quick for a person, little for a server."""

_LATE_S = 5.0
"""Log lines may arrive this much out of order, when several processes write for one run."""


class Pace(NamedTuple):
    """How often to look at a run, and for how long."""

    every_s: float = POLL_S
    until: float | None = None
    """A moment of ``time.monotonic``; ``None`` waits for ever."""
    patience_s: float = 0.0
    """What ``until`` was made of, for the message."""

    @classmethod
    def of(cls, every_s: float | None, timeout_s: float | None) -> Pace:
        """Return the pace that options name; ``None`` is the usual."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        return cls(every_s or POLL_S, until, timeout_s or 0.0)


def next_look(run: Json, pace: Pace = Pace()) -> Json:  # noqa: B008  # a constant tuple
    """Wait a little and return the run as it is then.

    Raises:
        Refusal: it was deleted meanwhile, or the time is up.
    """
    session = current()
    if pace.until is not None and time.monotonic() >= pace.until:
        raise Refusal(
            f"The run has not ended after {duration(pace.patience_s)} (it is {run.get('state_name')}); it goes on. "
            f"Watch it with: headrace flow-run watch {run['id']}"
        )
    left = pace.every_s if pace.until is None else min(pace.every_s, pace.until - time.monotonic())
    time.sleep(max(left, 0.0))
    # The run and its supervisor may both be killed while somebody watches: then nobody else would tell its end.
    session.look_again()
    return _read(run)


def to_the_end(run: Json, tell: Callable[[Json], None], pace: Pace = Pace()) -> Json:  # noqa: B008  # as above
    """Look at a run until it has ended, calling ``tell`` at each look; return it as it ended."""
    while True:
        tell(run)
        if run.get("state_type") in TERMINAL:
            return run
        run = next_look(run, pace)


class States:
    """The states of a run that have not been told yet."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def take(self, run: Json) -> list[Json]:
        """Return what is new, in its order."""
        new = self._new(run)
        self._told.update(entry["id"] for entry in new)
        return new

    def has_new(self, run: Json) -> bool:
        """Say whether there is something to take."""
        return bool(self._new(run))

    def _new(self, run: Json) -> list[Json]:
        states = run.get("state_history") or ([run["state"]] if run.get("state") else [])
        return [entry for entry in states if entry["id"] not in self._told]


class Lines:
    """The log lines that a filter finds and that have not been told yet.

    ``tail`` begins with that many of the last lines; ``None`` with the first.
    """

    def __init__(self, connection: Connection, filters: Json, tail: int | None = None) -> None:
        self._connection = connection
        self._filters = filters
        self._seen: dict[str, datetime] = {}
        self._floor: datetime | None = None
        self._tail = tail

    def take(self) -> Iterator[Json]:
        """Yield what is new, oldest first."""
        if self._tail is not None:
            yield from self._begin(self._tail)
            self._tail = None
        latest = max(self._seen.values(), default=None)
        since = (latest - timedelta(seconds=_LATE_S)).isoformat() if latest else None
        for line in calls.logs(self._connection, self._filters, after=since):
            if line["id"] not in self._seen and (self._floor is None or _when(line) >= self._floor):
                self._seen[line["id"]] = _when(line)
                yield line
        self._forget()

    def _begin(self, tail: int) -> list[Json]:
        first = calls.last_logs(self._connection, self._filters, max(tail, 1))
        self._seen = {line["id"]: _when(line) for line in first}
        self._floor = min(self._seen.values(), default=None)
        return first[len(first) - tail :]

    def _forget(self) -> None:
        """Keep only the lines that a later look may find again."""
        latest = max(self._seen.values(), default=None)
        if latest is not None:
            oldest = latest - timedelta(seconds=2 * _LATE_S)
            self._seen = {id: when for id, when in self._seen.items() if when >= oldest}


def _when(entry: Json) -> datetime:
    return datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00"))


def lines_of(run: Json, filters: Json, tail: int | None) -> Iterator[Json]:
    """Yield a run's log lines as they come, each once, until the run has ended and they are all there."""
    lines = Lines(current().connection, filters, tail)
    while True:
        # The state is read before the lines: what an ended run wrote is there when its end is.
        ended = run.get("state_type") in TERMINAL
        yield from lines.take()
        if ended:
            return
        run = next_look(run)


def states_and_lines(run: Json, pace: Pace) -> Json:
    """Write a run's states and log lines as they come, in the order of their times; return it as it ended."""
    states = States()
    lines = Lines(current().connection, {"flow_run_id": {"any_": [run["id"]]}})

    def tell(run: Json) -> None:
        found = [(_when(entry), text) for entry, text in _news(run, states, lines)]
        for _, text in sorted(found, key=itemgetter(0)):
            click.echo(text)

    return to_the_end(run, tell, pace)


def _news(run: Json, states: States, lines: Lines) -> Iterator[tuple[Json, str]]:
    """Yield states and lines that belong together: before each line every state that it follows, and the reverse."""
    while True:
        new = states.take(run)
        yield from ((entry, explain.state_line(entry)) for entry in new)
        said = list(lines.take())
        yield from ((line, log_line(line)) for line in said)
        if not said:
            return
        # The lines were read after the states, so some may follow a state that is not known yet.
        run = _read(run)
        if not states.has_new(run):
            return


def _read(run: Json) -> Json:
    try:
        return calls.flow_run(current().connection, run["id"])
    except ObjectNotFound as error:
        raise Refusal(f"Flow run {run['id']} was deleted while it was watched.") from error
