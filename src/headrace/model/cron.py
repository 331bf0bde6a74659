"""Cron expressions as vixie cron reads them: five fields (a sixth for seconds), and which times they name."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple

from ..errors import ScheduleError

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {name: n for n, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_WEEKDAYS = {name: n for n, name in enumerate("sun mon tue wed thu fri sat".split())}


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    words: dict[str, int]


_SECOND = _Field("second", 0, 59, {})
_MINUTE = _Field("minute", 0, 59, {})
_HOUR = _Field("hour", 0, 23, {})
_DAY = _Field("day of month", 1, 31, {})
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of week", 0, 7, _WEEKDAYS)  # 0 and 7 are both Sunday

_ITEM = re.compile(r"(?:(?P<star>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?\Z", re.ASCII)
_NTH = re.compile(r"(?P<day>\w+)#(?P<nth>[1-5])\Z|(?P<last>\w+)l\Z|l(?P<final>\w+)\Z", re.ASCII)
_LAST = -1

#: The calendar repeats after 400 years: what does not come in them never comes.
_CYCLE_MONTHS = 400 * 12
#: The last whole year after which there is another, for zones and weeks to look into.
LAST_DAY = date(9998, 12, 31)


class CronRule(NamedTuple):
    """A cron expression, read."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    days: frozenset[int]
    """Days of the month; -1 is the last."""
    weekdays: frozenset[int]
    """0 is Sunday."""
    nth_weekdays: frozenset[tuple[int, int]]
    """(weekday, which one in the month); which = -1 is the last."""
    either_day: bool
    """Whether a day of the month *or* a day of the week is enough: both fields say something."""
    wild: bool
    """Whether the minute or the hour field begins with ``*``: then it follows the clock through its changes."""


@lru_cache(maxsize=1024)
def read(expression: str) -> CronRule:
    """Return the rule that a cron expression writes.

    Fields: minute, hour, day of month, month, day of week, and optionally second (the sixth). Each is ``*``,
    a number, a name (``JAN``, ``MON``), a range, a list, with ``/step``; ``?`` is ``*`` in the two day fields; ``L``
    is the last day of the month, ``5L`` (or ``L5``) the last Friday, ``5#2`` the second. ``@daily`` and the like work.

    Raises:
        ScheduleError: it is no cron expression; the text names the field.
    """
    text = _NAMED.get(expression.strip().lower(), expression)
    parts = text.lower().split()
    if len(parts) not in (5, 6):
        raise _wrong(
            expression,
            f"it has {len(parts)} fields, not five (minute, hour, day of month, month, day of week)"
            if not text.startswith("@")
            else f"{text.strip()} is not one of {', '.join(_NAMED)}",
        )
    minute, hour, day, month, weekday = (
        re.sub(r"^\?$", "*", p) if i in (2, 4) else p for i, p in enumerate(parts[:5])
    )
    weekdays, nth = _read_weekdays(expression, weekday)
    return CronRule(
        seconds=_sorted(_read_field(expression, parts[5], _SECOND)) if len(parts) == 6 else (0,),
        minutes=_sorted(_read_field(expression, minute, _MINUTE)),
        hours=_sorted(_read_field(expression, hour, _HOUR)),
        months=frozenset(_read_field(expression, month, _MONTH)),
        days=frozenset(_read_days(expression, day)),
        weekdays=weekdays,
        nth_weekdays=nth,
        either_day=not (day.startswith("*") or weekday.startswith("*")),
        wild=minute.startswith("*") or hour.startswith("*"),
    )


def _wrong(expression: str, why: str) -> ScheduleError:
    shown = expression if len(expression) <= 100 else expression[:100] + "…"
    return ScheduleError(
        f"{shown!r} is not a cron expression: {why}. An example: '30 6 * * MON-FRI' is 06:30 on weekdays.",
        field="cron",
    )


def _sorted(values: set[int]) -> tuple[int, ...]:
    return tuple(sorted(values))


def _read_field(expression: str, text: str, field: _Field) -> set[int]:
    values: set[int] = set()
    for item in text.split(","):
        values |= _read_item(expression, item, field)
    return values


def _read_item(expression: str, item: str, field: _Field) -> set[int]:
    match = _ITEM.match(item)
    if match is None:
        raise _wrong(expression, f"{item!r} says no {field.name}")
    first, last, step = match["first"], match["last"], int(match["step"] or 1)
    low = field.low if match["star"] else _number(expression, first, field)
    # "5/15" is read as "5-59/15", as vixie's descendants do
    open_end = match["star"] or (last is None and match["step"])
    high = field.high if open_end else _number(expression, last or first, field)
    if high < low and field is _WEEKDAY and high == 0:
        high = 7  # "FRI-SUN"
    if high < low:
        raise _wrong(expression, f"{item!r} is a range of {field.name}s that ends before it begins")
    if step == 0:
        raise _wrong(expression, f"{item!r} has a step of 0")
    if field is _WEEKDAY and open_end:
        high = 6  # or "*/7" would be Sunday twice, and "*/2" odd in its second week
    return set(range(low, high + 1, step))


def _number(expression: str, text: str, field: _Field) -> int:
    value = field.words.get(text)
    if value is None and text.isdigit() and len(text) <= 4:
        value = int(text)
    if value is None or not field.low <= value <= field.high:
        raise _wrong(expression, f"{text!r} is no {field.name} ({field.low}-{field.high})")
    return value


def _read_days(expression: str, text: str) -> set[int]:
    items = text.split(",")
    plain = [item for item in items if item != "l"]
    values = _read_field(expression, ",".join(plain), _DAY) if plain else set()
    return values | ({_LAST} if len(plain) < len(items) else set())


def _read_weekdays(expression: str, text: str) -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
    plain: set[int] = set()
    nth: set[tuple[int, int]] = set()
    for item in text.split(","):
        match = _NTH.match(item) if item not in _WEEKDAYS else None
        if match is None:
            plain |= {day % 7 for day in _read_item(expression, item, _WEEKDAY)}
            continue
        which = int(match["nth"]) if match["nth"] else _LAST
        day = _number(expression, match["day"] or match["last"] or match["final"], _WEEKDAY)
        nth.add((day % 7, which))
    return frozenset(plain), frozenset(nth)


def walls(rule: CronRule, day_or: bool, start: datetime) -> Iterator[datetime]:
    """Yield the wall times (without zone) that the rule names, from ``start`` on, ``start`` included, rising.

    ``day_or`` false asks for days that fit both day fields, where each of them says something. It ends when
    400 years in a row hold no such time, or with the last year that dates can have.
    """
    for day in _days(rule, day_or, start.date()):
        yield from times_of(day, rule.hours, rule.minutes, rule.seconds, start)


def times_of(
    day: date, hours: tuple[int, ...], minutes: tuple[int, ...], seconds: tuple[int, ...], start: datetime
) -> Iterator[datetime]:
    """Yield the wall times of one day that are not before ``start``, rising; the tuples are sorted."""
    midnight = datetime.combine(day, time())
    for hour in hours:
        if midnight + timedelta(hours=hour + 1) <= start:
            continue
        for minute in minutes:
            if midnight + timedelta(hours=hour, minutes=minute + 1) <= start:
                continue
            for second in seconds:
                wall = midnight + timedelta(hours=hour, minutes=minute, seconds=second)
                if wall >= start:
                    yield wall


def _days(rule: CronRule, day_or: bool, start: date) -> Iterator[date]:
    year, month, empty = start.year, start.month, 0
    while empty < _CYCLE_MONTHS and year <= LAST_DAY.year:
        found = _days_of_month(rule, day_or, year, month) if month in rule.months else []
        empty = 0 if found else empty + 1
        yield from (day for day in found if start <= day <= LAST_DAY)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def _days_of_month(rule: CronRule, day_or: bool, year: int, month: int) -> list[date]:
    first, length = calendar.monthrange(year, month)
    found = []
    for day in range(1, length + 1):
        weekday = (first + day) % 7  # monthrange counts from Monday = 0, cron from Sunday = 0
        in_month = day in rule.days or (day == length and _LAST in rule.days)
        in_week = weekday in rule.weekdays or _is_nth(rule, weekday, day, length)
        if (in_month or in_week) if rule.either_day and day_or else (in_month and in_week):
            found.append(date(year, month, day))
    return found


def _is_nth(rule: CronRule, weekday: int, day: int, length: int) -> bool:
    if not rule.nth_weekdays:
        return False
    return (weekday, (day + 6) // 7) in rule.nth_weekdays or (
        day + 7 > length and (weekday, _LAST) in rule.nth_weekdays
    )
