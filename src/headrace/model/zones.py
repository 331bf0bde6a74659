"""What a wall clock shows and when it is: local times read as moments, across both changes of the clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from ..errors import ScheduleError

UTC = timezone.utc

Reading = Callable[[datetime, tzinfo], "list[datetime]"]
"""Turns a local time without zone into the moments (UTC) that it stands for: none, one or two."""

#: vixie cron's own bound: a longer jump of the clock is a correction, after which nothing is made up for.
_LONGEST_CHANGE = timedelta(hours=3)
_SECOND = timedelta(seconds=1)


def zone_of(name: str | None) -> tzinfo:
    """Return the zone of an IANA name; ``None`` is UTC.

    Raises:
        ScheduleError: this host knows no such zone.
    """
    if name is None or name == "UTC":
        return UTC  # known even where the host has no zone data
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # a folder, a path and a bad name each raise their own
        raise ScheduleError(
            f"{name!r} is not a time zone that this host knows. Use an IANA name such as 'Europe/Berlin' or "
            "'UTC'; if the name is right, install the package tzdata.",
            field="timezone",
        ) from error


def wall_of(moment: datetime, zone: tzinfo) -> datetime:
    """Return what a wall clock in the zone shows at the moment, without zone."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def changed_lately(moment: datetime, zone: tzinfo) -> bool:
    """Tell whether the clock was changed in the 25 hours before the moment."""
    return (moment - timedelta(hours=25)).astimezone(zone).utcoffset() != moment.astimezone(zone).utcoffset()


def _both(wall: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the wall time read with the offset before and after the nearest change (mostly the same)."""
    local = wall.replace(tzinfo=zone)
    return local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)


def calendar(wall: datetime, zone: tzinfo) -> list[datetime]:
    """Read as calendars do: skipped times with the offset before the gap, repeated ones once (RFC 5545, 3.3.5)."""
    return [_both(wall, zone)[0]]


def each(wall: datetime, zone: tzinfo) -> list[datetime]:
    """Read what the clock really shows: a skipped time never, a repeated one twice."""
    before, after = _both(wall, zone)
    return [] if after < before else [before] if after == before else [before, after]


def once(wall: datetime, zone: tzinfo) -> list[datetime]:
    """Read as vixie cron reads a fixed time of day: a skipped one at the gap's end, a repeated one once."""
    before, after = _both(wall, zone)
    if after >= before:
        return [before]
    return [_change_between(after, before, zone)] if before - after <= _LONGEST_CHANGE else []


def _change_between(low: datetime, high: datetime, zone: tzinfo) -> datetime:
    """Return the first second in ``(low, high]`` whose offset is not that of ``low``; both are whole seconds."""
    offset = low.astimezone(zone).utcoffset()
    while high - low > _SECOND:
        middle = low + (high - low) // (2 * _SECOND) * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high


def moments(walls: Iterable[datetime], zone: tzinfo, read: Reading) -> Iterator[datetime]:
    """Yield the moments of rising wall times, rising strictly."""
    last: datetime | None = None
    for moment in _in_order(walls, zone, read):
        if moment != last:
            yield moment
        last = moment


def _in_order(walls: Iterable[datetime], zone: tzinfo, read: Reading) -> Iterator[datetime]:
    # Around a change the order of the clock is not the order of time, so a moment is held until no later
    # wall time can come before it: none does once the earlier of its two readings has passed.
    held: list[datetime] = []
    for wall in walls:
        floor = min(_both(wall, zone))
        while held and held[0] < floor:
            yield heapq.heappop(held)
        for moment in read(wall, zone):
            heapq.heappush(held, moment)
    while held:
        yield heapq.heappop(held)
