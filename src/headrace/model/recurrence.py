"""Recurrence rules as RFC 5545 writes them (section 3.3.10), expanded from any point and never for ever."""

from __future__ import annotations

import calendar
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from .cron import LAST_DAY, times_of

#: {frequency: seconds of its unit} for those below a day.
CLOCK_UNITS = {"HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}
FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", *CLOCK_UNITS)

_DAY = timedelta(days=1)
#: Days of the 400 years after which the calendar repeats: so many fruitless looks, and a rule has ended.
_LOOKS = 146_097


@dataclass(frozen=True)
class Recurrence:
    """One RRULE with the DTSTART it counts from; what the text left out is ``()``, filled in by ``completed``."""

    freq: str
    dtstart: datetime
    """Wall time, without zone."""
    interval: int = 1
    count: int | None = None
    bysecond: tuple[int, ...] = ()
    byminute: tuple[int, ...] = ()
    byhour: tuple[int, ...] = ()
    byday: tuple[tuple[int, int], ...] = ()
    """(weekday from Monday = 0, which one in the month or year; 0 is every one, negative counts from the end)."""
    bymonthday: tuple[int, ...] = ()
    byyearday: tuple[int, ...] = ()
    byweekno: tuple[int, ...] = ()
    bymonth: tuple[int, ...] = ()
    bysetpos: tuple[int, ...] = ()
    wkst: int = 0

    def completed(self) -> Recurrence:
        """Return the rule with what its text leaves to DTSTART: the time of day, and the day (RFC 5545, 3.3.10)."""
        at, clock = self.dtstart, CLOCK_UNITS.get(self.freq, 86400)
        rule = replace(
            self,
            bysecond=self.bysecond or ((at.second,) if clock > 1 else tuple(range(60))),
            byminute=self.byminute or ((at.minute,) if clock > 60 else tuple(range(60))),
            byhour=self.byhour or ((at.hour,) if clock > 3600 else tuple(range(24))),
        )
        if self.byday or self.bymonthday or self.byyearday:
            return rule
        if self.freq == "WEEKLY" or (self.freq == "YEARLY" and self.byweekno):
            return replace(rule, byday=((at.weekday(), 0),))
        if self.freq == "YEARLY":
            return replace(rule, bymonth=self.bymonth or (at.month,), bymonthday=(at.day,))
        return replace(rule, bymonthday=(at.day,)) if self.freq == "MONTHLY" else rule


class _Period(NamedTuple):
    """What one turn of the frequency holds: each of these days at each of these times, all rising."""

    days: list[date]
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]
    looks: int = 1
    """How many days or turns were looked at for it."""


def walls(rule: Recurrence, start: datetime) -> Iterator[datetime]:
    """Yield the wall times of a completed rule from ``start`` on, ``start`` included, rising.

    It ends when COUNT is used up, when as many days or turns as 400 years have days hold no such time, or with
    the last year that dates can have.
    """
    last = _last_of_count(rule)
    for wall in _endless(rule, max(start, rule.dtstart)):
        if last is not None and wall > last:
            return
        yield wall


@lru_cache(maxsize=256)
def _last_of_count(rule: Recurrence) -> datetime | None:
    """Return the wall time at which COUNT is used up, or ``None`` without COUNT or where fewer come."""
    if rule.count is None:
        return None
    return next(islice(_endless(rule, rule.dtstart), rule.count - 1, None), None)


def _endless(rule: Recurrence, start: datetime) -> Iterator[datetime]:
    fruitless = 0
    for period in _periods(rule, start):
        fruitless += period.looks
        for wall in _picked(rule, period, start):
            fruitless = 0
            yield wall
        if fruitless > _LOOKS:
            return


def _picked(rule: Recurrence, period: _Period, start: datetime) -> Iterator[datetime]:
    if not rule.bysetpos:
        for day in period.days:
            yield from times_of(day, period.hours, period.minutes, period.seconds, start)
        return
    # Only the asked-for places are made: a year may hold 31 million times.
    n_minutes, n_seconds = len(period.minutes), len(period.seconds)
    in_day = len(period.hours) * n_minutes * n_seconds
    size = len(period.days) * in_day
    for place in sorted({p - 1 if p > 0 else size + p for p in rule.bysetpos}):
        if 0 <= place < size:
            hour, rest = divmod(place % in_day, n_minutes * n_seconds)
            clock = time(
                period.hours[hour], period.minutes[rest // n_seconds], period.seconds[rest % n_seconds]
            )
            wall = datetime.combine(period.days[place // in_day], clock)
            if wall >= start:
                yield wall


def _periods(rule: Recurrence, start: datetime) -> Iterator[_Period]:
    clock = (rule.byhour, rule.byminute, rule.bysecond)
    if rule.freq in CLOCK_UNITS:
        for day in _days_from(start.date()):
            if _fits(rule, day):
                yield from _turns_of_clock(rule, day, start)
            else:
                yield _Period([], *clock)
        return
    for days in _turns_of_calendar(rule, start.date()):
        yield _Period([day for day in days if _fits(rule, day)], *clock, looks=len(days))


def _days_from(first: date, step: int = 1) -> Iterator[date]:
    ordinal = first.toordinal()
    while ordinal <= LAST_DAY.toordinal():
        yield date.fromordinal(ordinal)
        ordinal += step


def _turns_of_clock(rule: Recurrence, day: date, start: datetime) -> Iterator[_Period]:
    """Yield the hours, minutes or seconds of one day that stand in step with DTSTART."""
    unit = CLOCK_UNITS[rule.freq]
    origin = rule.dtstart.replace(minute=0, second=0) if unit == 3600 else rule.dtstart
    origin = origin.replace(second=0) if unit == 60 else origin
    midnight = datetime.combine(day, time())
    elapsed = (midnight - origin) // timedelta(seconds=unit)
    first = -elapsed % rule.interval
    if start > midnight:
        behind = max(0, (start - midnight) // timedelta(seconds=unit) - first)
        first += behind // rule.interval * rule.interval
    turn = first
    while turn < 86400 // unit:
        hour, minute, second = turn * unit // 3600, turn * unit // 60 % 60, turn * unit % 60
        following = _after_refused(rule, unit, hour, minute, second)
        yield _Period(
            [day] if following is None else [],
            (hour,),
            rule.byminute if unit == 3600 else (minute,),
            rule.bysecond if unit > 1 else (second,),
        )
        turn += -((turn - (following or turn + 1)) // rule.interval) * rule.interval


def _after_refused(rule: Recurrence, unit: int, hour: int, minute: int, second: int) -> int | None:
    """Return the turn after the hour, minute or second that the rule refuses, or ``None`` if it refuses none."""
    if hour not in rule.byhour:
        return (hour + 1) * 3600 // unit
    if unit < 3600 and minute not in rule.byminute:
        return (hour * 60 + minute + 1) * 60 // unit
    if unit == 1 and second not in rule.bysecond:
        return hour * 3600 + minute * 60 + second + 1
    return None


def _turns_of_calendar(rule: Recurrence, first: date) -> Iterator[list[date]]:
    """Yield the days of each year, month, week or day in step with DTSTART, from the one that holds ``first``."""
    step, origin = rule.interval, rule.dtstart.date()
    if rule.freq == "DAILY":
        gone = (first - origin).days // step * step
        yield from ([day] for day in _days_from(origin + gone * _DAY, step))
    elif rule.freq == "WEEKLY":
        monday = origin - (origin.weekday() - rule.wkst) % 7 * _DAY
        gone = (first - monday).days // (7 * step) * (7 * step)
        for begin in _days_from(monday + gone * _DAY, 7 * step):
            yield list(islice(_days_from(begin), 7))
    elif rule.freq == "MONTHLY":
        begin_month = origin.year * 12 + origin.month - 1
        gone = (first.year * 12 + first.month - 1 - begin_month) // step * step
        for month in range(begin_month + gone, LAST_DAY.year * 12 + 12, step):
            yield _days_of_month(month // 12, month % 12 + 1)
    else:
        gone = (first.year - origin.year) // step * step
        for year in range(origin.year + gone, LAST_DAY.year + 1, step):
            months = rule.bymonth or range(1, 13)
            yield [day for month in months for day in _days_of_month(year, month)]


def _days_of_month(year: int, month: int) -> list[date]:
    days = [date(year, month, day) for day in range(1, calendar.monthrange(year, month)[1] + 1)]
    return days[: bisect_left(days, LAST_DAY) + 1]


def _fits(rule: Recurrence, day: date) -> bool:
    """Tell whether the day passes each BY part of days that the rule has."""
    if rule.bymonth and day.month not in rule.bymonth:
        return False
    if rule.bymonthday and not _counted(
        rule.bymonthday, day.day, calendar.monthrange(day.year, day.month)[1]
    ):
        return False
    if rule.byday and not any(_is_weekday(rule, day, weekday, which) for weekday, which in rule.byday):
        return False
    if rule.byyearday and not _counted(rule.byyearday, day.timetuple().tm_yday, _length_of_year(day.year)):
        return False
    return not rule.byweekno or _counted(rule.byweekno, *_week(day, rule.wkst))


def _counted(wanted: tuple[int, ...], place: int, length: int) -> bool:
    """Tell whether a place (from 1) is wanted, counted from the start or, negative, from the end."""
    return place in wanted or place - length - 1 in wanted


def _is_weekday(rule: Recurrence, day: date, weekday: int, which: int) -> bool:
    if day.weekday() != weekday:
        return False
    if which == 0:
        return True
    if rule.freq == "MONTHLY" or rule.bymonth:
        place, length = day.day, calendar.monthrange(day.year, day.month)[1]
    else:
        place, length = day.timetuple().tm_yday, _length_of_year(day.year)
    return which == ((place + 6) // 7 if which > 0 else -((length - place) // 7 + 1))


def _length_of_year(year: int) -> int:
    return 366 if calendar.isleap(year) else 365


def _week(day: date, wkst: int) -> tuple[int, int]:
    """Return the number of the day's week and how many its year has; week 1 is the first with four days in it."""
    begin = day - (day.weekday() - wkst) % 7 * _DAY
    year = (begin + 3 * _DAY).year  # the week belongs to the year that holds its fourth day
    first, following = _first_week(year, wkst), _first_week(year + 1, wkst)
    return (begin - first).days // 7 + 1, (following - first).days // 7


@lru_cache(maxsize=1024)
def _first_week(year: int, wkst: int) -> date:
    fourth = date(year, 1, 4)
    return fourth - (fourth.weekday() - wkst) % 7 * _DAY
