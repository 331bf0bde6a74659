"""Which times of a schedule are planned now: a rule over plain values, with no clock and no database.

A schedule has a mark: up to it every time was planned, or passed over on purpose. :func:`plan` moves the mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from .schedules import Schedule, between, next_after
from .zones import UTC

_FAR = datetime(9999, 12, 31, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class Catchup(str, Enum):
    """What becomes of times that passed while no server was up to plan them."""

    NONE = "none"
    """They are passed over."""
    LATEST = "latest"
    """The latest of them is planned."""
    ALL = "all"
    """All of them are planned."""


class Reach(NamedTuple):
    """How far ahead runs are planned, and how far back."""

    horizon: timedelta = timedelta(hours=1)
    """All times up to so far ahead are planned, as long as they are not more than ``most``."""
    least: int = 3
    """So many are planned, however far ahead they are."""
    most: int = 100
    """Never more than so many at once, however near they are."""
    grace: timedelta = timedelta(seconds=15)
    """A time that passed less than that ago was not missed: it is planned whatever ``catchup`` says."""
    catchup: Catchup = Catchup.LATEST


class Plan(NamedTuple):
    """What is to be done about a schedule."""

    times: list[datetime]
    """The times to be planned, rising, in UTC."""
    until: datetime
    """The mark afterwards."""
    again: datetime | None
    """When to plan again; ``None``: never, no time follows."""


def plan(
    schedule: Schedule, mark: datetime, now: datetime, reach: Reach, max_runs: int | None = None
) -> Plan:
    """Return the times to be planned at ``now``, and when to look again.

    Every call fills up, a little further than ``reach`` asks; ``again`` is when that is used up. ``max_runs`` is the
    schedule's own limit of runs that wait for their time. All times are aware.
    """
    missed = _missed(schedule, mark, now, reach)
    if len(missed) >= reach.most:
        return Plan(missed, missed[-1], now)  # the rest of them at once, in another transaction
    most = min(reach.most, max_runs if max_runs is not None else reach.most)
    known = between(schedule, now, mark, most) if mark > now else []
    added = _ahead(schedule, max(mark, now), now, reach, most, len(known))
    times = missed + added
    until = times[-1] if times else mark
    return Plan(times, until, _again(schedule, known + added, max(until, now), now, reach, most))


def stale(waiting: Sequence[tuple[int, str]], before_us: int, catchup: Catchup) -> list[str]:
    """Return which runs of a schedule, planned before an outage, are dropped after it.

    ``waiting`` are its runs whose time has passed, ``(time, id)`` by time; those before ``before_us`` (microseconds
    since 1970) missed theirs in the outage.
    """
    if catchup is Catchup.ALL:
        return []
    kept = waiting[-1:] if catchup is Catchup.LATEST else ()
    return [run[1] for run in waiting if run[0] < before_us and run not in kept]


def _missed(schedule: Schedule, mark: datetime, now: datetime, reach: Reach) -> list[datetime]:
    if mark >= now:
        return []
    if reach.catchup is Catchup.ALL:
        return between(schedule, mark, now, reach.most)
    just = between(schedule, max(mark, now - reach.grace), now, reach.most)
    if just or reach.catchup is Catchup.NONE:
        return just
    return _latest(schedule, mark, now)


def _latest(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    """Return the last occurrence after ``after`` up to ``until``, if there is one.

    By halving: a schedule that runs every second has missed millions after a month.
    """
    found = next_after(schedule, after)
    if found is None or found > until:
        return []
    high = until
    while high - found >= _TICK:
        middle = found + (high - found) // 2
        at = next_after(schedule, middle)
        if at is None or at > until:
            high = middle
        else:
            found = at
    return [found]


def _ahead(
    schedule: Schedule, start: datetime, now: datetime, reach: Reach, most: int, known: int
) -> list[datetime]:
    """Return the times after ``start`` that are added to the ``known`` ones, so that they last for a while."""
    room = most - known
    if room <= 0:
        return []
    near = between(schedule, start, now + reach.horizon * 1.5, room)
    wanted = min(most, reach.least + 2) - known
    return near if len(near) >= wanted else between(schedule, start, _FAR, wanted)


def _again(
    schedule: Schedule, planned: list[datetime], until: datetime, now: datetime, reach: Reach, most: int
) -> datetime | None:
    """Return when the ``planned`` times, all after ``now``, no longer reach: too few, or not far enough."""
    following = next_after(schedule, until)
    if following is None:
        return None
    too_few = _when_left(planned, min(reach.least, most) - 1, now)
    too_near = following - reach.horizon
    if len(planned) >= most:  # there is no room for more before some of them have passed
        too_near = max(too_near, _when_left(planned, most // 2, now))
    return max(now, min(too_few, too_near))


def _when_left(planned: list[datetime], left: int, now: datetime) -> datetime:
    """Return when no more than ``left`` of the planned times will be ahead."""
    return planned[-left - 1] if len(planned) > left else now
