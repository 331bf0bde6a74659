"""When a deployment runs: a schedule is a plain value, and its times follow from it and from nothing else."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from itertools import count, islice, takewhile

import msgspec

from ..errors import ScheduleError
from . import cron as cron_rules
from . import recurrence, rrule_text
from .zones import UTC, calendar, changed_lately, each, moments, once, wall_of, zone_of

_DAY = timedelta(days=1)
#: Times outside of it cannot be told in every zone, so no schedule has any there.
_FIRST, _LAST = datetime(1, 1, 4, tzinfo=UTC), datetime(9998, 12, 30, tzinfo=UTC)
_LONGEST_INTERVAL = timedelta(days=366_000)


class Cron(msgspec.Struct, frozen=True):
    """Times that a cron expression names, on the wall clock of a zone.

    A time that the clock skips runs at the gap's end and one that it repeats runs once, as vixie cron has it. Where
    the minute or hour field begins with ``*`` the schedule follows the clock instead: an hourly run every hour.
    """

    cron: str
    timezone: str | None = None
    """An IANA name; ``None`` is UTC."""
    day_or: bool = True
    """Whether one of day-of-month and day-of-week is enough when both are given (``False``: both must fit)."""

    def __post_init__(self) -> None:
        zone_of(self.timezone)
        rule = cron_rules.read(self.cron)
        anywhen = _FIRST.replace(tzinfo=None)
        if next(cron_rules.walls(rule, self.day_or, anywhen), None) is None:
            raise ScheduleError(
                f"The cron expression {self.cron!r} describes no time at all: no such day is in the calendar.",
                field="cron",
            )


class Interval(msgspec.Struct, frozen=True):
    """Times an interval apart, counted both ways from an anchor.

    From a day on an interval keeps the wall clock of its zone (24 hours are a day, though the day has 23); a
    shorter one is time that passes.
    """

    interval: timedelta
    anchor_date: datetime
    """Aware. It fixes the phase; there are times before it too."""
    timezone: str | None = None
    """An IANA name; ``None`` is UTC."""

    def __post_init__(self) -> None:
        zone_of(self.timezone)
        if not timedelta(0) < self.interval <= _LONGEST_INTERVAL:
            raise ScheduleError(
                f"The interval is {self.interval.total_seconds():g} seconds; it must be more than 0 and at most "
                f"{_LONGEST_INTERVAL.days} days.",
                field="interval",
            )
        if self.anchor_date.tzinfo is None:
            raise ScheduleError("anchor_date has no zone. Write it with an offset or Z.", field="anchor_date")
        if not _FIRST <= self.anchor_date <= _LAST:
            raise ScheduleError("anchor_date is outside of the years that count.", field="anchor_date")


class RRule(msgspec.Struct, frozen=True):
    """Times of a recurrence rule (RFC 5545), on the wall clock of DTSTART's TZID or else of ``timezone``.

    A time that the clock skips is read with the offset before the gap, one that it repeats runs once (3.3.5).
    """

    rrule: str
    timezone: str | None = None
    """An IANA name; ``None`` is UTC."""

    def __post_init__(self) -> None:
        text = rrule_text.read(self.rrule, zone_of(self.timezone))
        firsts = [next(recurrence.walls(rule, rule.dtstart), None) for rule, _ in text.rules]
        if not text.extra and not any(firsts):
            raise rrule_text.wrong("it describes no time at all")


Schedule = Cron | Interval | RRule


def next_after(schedule: Schedule, moment: datetime) -> datetime | None:
    """Return the first occurrence strictly after ``moment``, or ``None`` when the schedule has ended.

    ``moment`` is aware. The result is in UTC: two times in one zone compare by what their clocks show, which is
    wrong where a clock is set back.

    Raises:
        ScheduleError: ``moment`` has no zone.
    """
    return next(_occurrences(schedule, moment), None)


def between(schedule: Schedule, start: datetime, end: datetime, limit: int) -> list[datetime]:
    """Return the occurrences after ``start`` up to and with ``end``, in UTC, rising, at most ``limit``.

    Windows laid end to end therefore name each occurrence once.

    Raises:
        ScheduleError: ``start`` or ``end`` has no zone.
    """
    last = _in_utc(end)
    return list(islice(takewhile(lambda at: at <= last, _occurrences(schedule, start)), limit))


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ScheduleError(f"The time {moment.isoformat()} has no zone, so it names no moment.")
    return min(max(moment, _FIRST), _LAST).astimezone(UTC)


def _occurrences(schedule: Schedule, moment: datetime) -> Iterator[datetime]:
    after = _in_utc(moment)
    if isinstance(schedule, Cron):
        found = _cron_times(schedule, after)
    elif isinstance(schedule, Interval):
        found = _interval_times(schedule, after)
    else:
        found = _rrule_times(schedule, after)
    return (at for at in found if after < at <= _LAST)


def _scan_from(after: datetime, zone: tzinfo) -> datetime:
    """Return the wall time from which a scan misses nothing after the moment."""
    # A change moves a wall time by less than a day even where a zone crosses the date line.
    wall = wall_of(after, zone).replace(microsecond=0)
    return wall - timedelta(hours=25) if changed_lately(after, zone) else wall


def _cron_times(schedule: Cron, after: datetime) -> Iterator[datetime]:
    zone, rule = zone_of(schedule.timezone), cron_rules.read(schedule.cron)
    walls = cron_rules.walls(rule, schedule.day_or, _scan_from(after, zone))
    return moments(walls, zone, each if rule.wild else once)


def _rrule_times(schedule: RRule, after: datetime) -> Iterator[datetime]:
    text = rrule_text.read(schedule.rrule, zone_of(schedule.timezone))
    start = _scan_from(after, text.zone)
    streams: list[Iterator[datetime]] = [iter(text.extra)]
    for rule, until in text.rules:
        found = moments(recurrence.walls(rule, start), text.zone, calendar)
        streams.append(found if until is None else takewhile(_not_after(until), found))
    last = None
    for at in heapq.merge(*streams):
        if at != last and at not in text.excluded:
            yield at
        last = at


def _not_after(until: datetime) -> Callable[[datetime], bool]:
    return lambda at: at <= until


def _interval_times(schedule: Interval, after: datetime) -> Iterator[datetime]:
    anchor, step = schedule.anchor_date.astimezone(UTC), schedule.interval
    if step < _DAY:
        return _multiples(anchor, step, (after - anchor) // step + 1)
    zone = zone_of(schedule.timezone)
    wall = wall_of(anchor, zone)
    return moments(_multiples(wall, step, (wall_of(after, zone) - 2 * _DAY - wall) // step), zone, calendar)


def _multiples(anchor: datetime, step: timedelta, first: int) -> Iterator[datetime]:
    """Yield ``anchor + n * step`` for n from ``first`` on, as far as there are dates."""
    low, high = _FIRST.replace(tzinfo=anchor.tzinfo) - 2 * _DAY, _LAST.replace(tzinfo=anchor.tzinfo)
    for n in count(first):
        try:
            at = anchor + n * step
        except OverflowError:
            if n < 0:
                continue
            return
        if at > high:
            return
        if at >= low:
            yield at


# Schedules on the wire


def parse(document: object, *, now: datetime | None = None) -> Schedule:
    """Return the schedule of a JSON object of the contract: cron, interval or rrule with what belongs to it.

    An interval may be seconds or text (``"3600"``, ``"01:30:00"``, ``"PT1H30M"``). ``now`` anchors an interval
    that names no ``anchor_date``; without it such an interval is refused.

    Raises:
        ScheduleError: the object says no schedule, or one without any time; ``field`` names what is wrong.
    """
    if not isinstance(document, Mapping):
        raise ScheduleError("A schedule is an object with one of cron, interval and rrule.")
    kinds = [kind for kind in _KINDS if kind in document]
    if len(kinds) != 1:
        told = " and ".join(kinds) or "none of them"
        raise ScheduleError(f"A schedule has one of cron, interval and rrule; this one has {told}.")
    kind = kinds[0]
    allowed = _KINDS[kind]
    unknown = [str(name)[:40] for name in document if name not in allowed]
    if unknown:
        raise ScheduleError(
            f"A schedule with {kind} knows no {unknown[0]!r}; it may have {', '.join(allowed)}.",
            field=unknown[0],
        )
    zone = _text(document, "timezone") if document.get("timezone") is not None else None
    if kind == "cron":
        return Cron(_text(document, "cron"), zone, _flag(document, "day_or"))
    if kind == "rrule":
        return RRule(_text(document, "rrule"), zone)
    return Interval(_duration(document["interval"]), _anchor(document, zone, now), zone)


def to_json(schedule: Schedule) -> dict[str, object]:
    """Return the contract's JSON object of a schedule; ``parse`` reads it back to an equal one."""
    if isinstance(schedule, Cron):
        return {"cron": schedule.cron, "timezone": schedule.timezone, "day_or": schedule.day_or}
    if isinstance(schedule, RRule):
        return {"rrule": schedule.rrule, "timezone": schedule.timezone}
    anchor = schedule.anchor_date.astimezone(UTC).isoformat(timespec="microseconds")
    return {
        "interval": schedule.interval.total_seconds(),
        "anchor_date": anchor.replace("+00:00", "Z"),
        "timezone": schedule.timezone,
    }


_KINDS = {
    "cron": ("cron", "timezone", "day_or"),
    "interval": ("interval", "anchor_date", "timezone"),
    "rrule": ("rrule", "timezone"),
}
_CLOCK = re.compile(
    r"(?:(?P<days>\d{1,6}) (?:days?, )?)?(?P<hours>\d{1,4}):(?P<minutes>\d\d)(?::(?P<seconds>\d\d(?:\.\d{1,6})?))?\Z",
    re.ASCII,
)
_ISO = re.compile(
    r"P(?=.)(?:(?P<weeks>\d{1,6})W)?(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,12}(?:\.\d{1,6})?)S)?)?\Z",
    re.ASCII,
)


def _text(document: Mapping[str, object], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise ScheduleError(f"{name} is {_shown(value)}; it must be text.", field=name)
    return value


def _flag(document: Mapping[str, object], name: str) -> bool:
    value = document.get(name, True)
    if not isinstance(value, bool):
        raise ScheduleError(f"{name} is {_shown(value)}; it must be true or false.", field=name)
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _duration(value: object) -> timedelta:
    try:
        if isinstance(value, str):
            match = _CLOCK.match(value) or _ISO.match(value)
            if match:
                return timedelta(**{unit: float(n) for unit, n in match.groupdict().items() if n})
            return timedelta(seconds=float(value))
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return timedelta(seconds=value)
    except (ValueError, OverflowError):  # no number, not finite, or longer than there is time
        pass
    raise ScheduleError(
        f"interval is {_shown(value)}; it must be seconds, or text such as '01:30:00' or 'PT1H30M'.",
        field="interval",
    )


def _anchor(document: Mapping[str, object], zone: str | None, now: datetime | None) -> datetime:
    """Return ``anchor_date``; without an offset it is the wall clock of the schedule's zone."""
    value = document.get("anchor_date")
    if value is None:
        if now is None:
            raise ScheduleError("An interval needs an anchor_date to count from.", field="anchor_date")
        return now
    try:
        anchor = msgspec.convert(value, datetime)
    except msgspec.ValidationError as error:
        raise ScheduleError(
            f"anchor_date is {_shown(value)}; it must be a time such as '2026-12-31T06:30:00Z'.",
            field="anchor_date",
        ) from error
    return anchor if anchor.tzinfo else anchor.replace(tzinfo=zone_of(zone))
