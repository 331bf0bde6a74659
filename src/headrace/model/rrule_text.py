"""The text of recurrence rules (RFC 5545: DTSTART, RRULE, RDATE, EXDATE), read into values or refused by name."""

from __future__ import annotations

import re
from datetime import datetime, timezone, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import ScheduleError
from .recurrence import FREQUENCIES, Recurrence
from .zones import wall_of, zone_of

#: The contract's limit, in characters.
LONGEST = 6500
#: Counting means making each time up to the last: so many take about half a second.
HIGHEST_COUNT = 100_000
#: Where a rule without DTSTART counts from, in the schedule's zone: the contract's moment.
DEFAULT_START = datetime(2020, 1, 1)  # noqa: DTZ001  # a wall time

_WEEKDAYS = {name: n for n, name in enumerate(("MO", "TU", "WE", "TH", "FR", "SA", "SU"))}
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?\Z", re.ASCII)
_BYDAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)\Z", re.ASCII)

#: {part: (lowest, highest, whether it may be negative and never 0)}
_NUMBERS = {
    "BYSECOND": (0, 59, False),
    "BYMINUTE": (0, 59, False),
    "BYHOUR": (0, 23, False),
    "BYMONTHDAY": (1, 31, True),
    "BYYEARDAY": (1, 366, True),
    "BYWEEKNO": (1, 53, True),
    "BYMONTH": (1, 12, False),
    "BYSETPOS": (1, 366, True),
}
_HIGHEST_INTERVAL = 10_000_000


class RuleText(NamedTuple):
    """What a schedule's recurrence text says."""

    rules: tuple[tuple[Recurrence, datetime | None], ...]
    """Each completed from DTSTART, with the last moment (UTC) that its UNTIL permits."""
    extra: tuple[datetime, ...]
    """RDATE: moments in UTC, sorted."""
    excluded: frozenset[datetime]
    """EXDATE: moments in UTC."""
    zone: tzinfo
    """The zone whose wall clock the rules follow: DTSTART's TZID, or the schedule's."""


@lru_cache(maxsize=512)
def read(text: str, zone: tzinfo) -> RuleText:
    """Return what the text of a recurrence says; ``zone`` is the schedule's, for times that name none.

    The text is one ``FREQ=...`` rule, or lines of DTSTART, RRULE, RDATE and EXDATE. A time that ends in ``Z`` is
    UTC, one with TZID in that zone, any other in the schedule's. An UNTIL that is a date means its midnight.

    Raises:
        ScheduleError: it is too long or no such text; the message names the part.
    """
    if len(text) > LONGEST:
        raise wrong(f"it has {len(text)} characters; {LONGEST} are allowed. Use UNTIL or fewer dates")
    lines = [_split(line) for line in _unfolded(text)]
    starts = [(params, value) for name, params, value in lines if name == "DTSTART"]
    if len(starts) > 1:
        raise wrong("it has more than one DTSTART")
    start = DEFAULT_START
    if starts:
        params, value = starts[0]
        zone = zone_of(params["TZID"]) if "TZID" in params else zone
        start = wall_of(_moment(value, params, zone), zone)
    rules = [_read_rule(value, start, zone) for name, _, value in lines if name == "RRULE"]
    dates = {name: _dates(lines, name, zone) for name in ("RDATE", "EXDATE")}
    if not rules and not dates["RDATE"]:
        raise wrong("it has neither RRULE nor RDATE, so it says no time")
    return RuleText(
        tuple((rule.completed(), until) for rule, until in rules),
        tuple(sorted(dates["RDATE"])),
        frozenset(dates["EXDATE"]),
        zone,
    )


def wrong(why: str) -> ScheduleError:
    """Return the error for a recurrence text, with an example of a right one."""
    return ScheduleError(
        f"The recurrence rule cannot be used: {why}. An example: 'FREQ=WEEKLY;BYDAY=MO,FR;BYHOUR=6;BYMINUTE=30'.",
        field="rrule",
    )


def _unfolded(text: str) -> list[str]:
    joined = re.sub(r"\r?\n[ \t]", "", text)
    return [line.strip() for line in joined.splitlines() if line.strip()]


def _split(line: str) -> tuple[str, dict[str, str], str]:
    """Return the name, parameters and value of a line; a bare rule is an RRULE."""
    head, colon, value = line.partition(":")
    if not colon:
        head, value = "RRULE", line
    name, *params = head.split(";")
    name = name.upper()
    if name == "EXRULE":
        raise wrong("EXRULE was withdrawn from RFC 5545. Name the dates with EXDATE")
    if name not in ("DTSTART", "RRULE", "RDATE", "EXDATE"):
        raise wrong(f"{name[:40]!r} is not a line of it (DTSTART, RRULE, RDATE, EXDATE)")
    pairs = (param.partition("=") for param in params)
    return name, {key.upper(): word for key, _, word in pairs}, value


def _dates(lines: list[tuple[str, dict[str, str], str]], wanted: str, zone: tzinfo) -> list[datetime]:
    found = []
    for name, params, value in lines:
        if name == wanted:
            found += [_moment(item, params, zone) for item in value.split(",")]
    return found


def _moment(text: str, params: dict[str, str], zone: tzinfo) -> datetime:
    """Return the moment (UTC) of a DATE-TIME; a DATE is its midnight."""
    match = _TIME.match(text.strip())
    if match is None:
        raise wrong(f"{text[:40]!r} is no time; write 20261231T063000, or with a Z at its end for UTC")
    numbers = [int(number) for number in match.groups()[:6] if number is not None]
    try:
        wall = datetime(*numbers)  # type: ignore[arg-type]  # noqa: DTZ001  # a wall time of 3 or 6 numbers
    except ValueError as error:
        raise wrong(f"{text[:40]!r} is no time: {error}") from error
    if not 1900 <= wall.year <= 9990:
        raise wrong(f"{text[:40]!r} lies outside of the years 1900 to 9990")
    if match[7]:
        return wall.replace(tzinfo=timezone.utc)
    own = zone_of(params["TZID"]) if "TZID" in params else zone
    return wall.replace(tzinfo=own).astimezone(timezone.utc)


def _read_rule(text: str, start: datetime, zone: tzinfo) -> tuple[Recurrence, datetime | None]:
    parts = _parts(text)
    freq = parts.pop("FREQ", None)
    if freq not in FREQUENCIES:
        raise wrong(f"FREQ is {freq!r}, not one of {', '.join(FREQUENCIES)}" if freq else "it says no FREQ")
    fields: dict[str, Any] = {}  # by the names of Recurrence: numbers, or tuples of numbers
    until = _moment(parts.pop("UNTIL"), {}, zone) if "UNTIL" in parts else None
    for name, value in parts.items():
        fields[name.lower()] = _value(name, value)
    if until is not None and "count" in fields:
        raise wrong("it has both COUNT and UNTIL; it may have one of them")
    _check_together(freq, fields)
    return Recurrence(freq, start, **fields), until


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.upper().rstrip(";").split(";"):
        name, equals, value = part.strip().partition("=")
        if not equals or not value:
            raise wrong(f"{part[:40]!r} is not NAME=VALUE")
        if name in parts:
            raise wrong(f"it has {name[:40]} twice")
        parts[name] = value
    return parts


def _value(name: str, value: str) -> object:
    if name in _NUMBERS:
        return tuple(sorted({_number(name, item, *_NUMBERS[name]) for item in value.split(",")}))
    if name == "INTERVAL":
        return _number(name, value, 1, _HIGHEST_INTERVAL, False)
    if name == "COUNT":
        return _number(name, value, 1, HIGHEST_COUNT, False)
    if name == "BYDAY":
        return tuple(sorted({_weekday(item) for item in value.split(",")}))
    if name == "WKST" and value in _WEEKDAYS:
        return _WEEKDAYS[value]
    raise wrong(f"{name[:40]}={value[:40]} is not a part of a rule")


def _number(name: str, text: str, low: int, high: int, signed: bool) -> int:
    value = int(text) if re.match(r"[+-]?\d{1,9}\Z", text, re.ASCII) else None
    if value is None or not low <= (abs(value) if signed else value) <= high:
        sign = " (or counted from the end, negative)" if signed else ""
        raise wrong(f"{name} is {text[:40]!r}; it may be {low} to {high}{sign}")
    return value


def _weekday(text: str) -> tuple[int, int]:
    match = _BYDAY.match(text)
    which = int(match[1]) if match and match[1] else 0
    if match is None or (match[1] and not 1 <= abs(which) <= 53):
        raise wrong(f"BYDAY is {text[:40]!r}; it may be MO to SU, with a place before it such as 2TU or -1FR")
    return _WEEKDAYS[match[2]], which


def _check_together(freq: str, fields: dict[str, Any]) -> None:
    """Refuse what RFC 5545, 3.3.10 forbids to stand together and what would be read in two ways."""
    placed = any(which for _, which in fields.get("byday", ()))
    if placed and freq not in ("MONTHLY", "YEARLY"):
        raise wrong(f"a place in BYDAY (such as 2TU) needs FREQ=MONTHLY or YEARLY, not {freq}")
    if placed and "byweekno" in fields:
        raise wrong("a place in BYDAY (such as 2TU) cannot stand with BYWEEKNO")
    if "byweekno" in fields and freq != "YEARLY":
        raise wrong(f"BYWEEKNO needs FREQ=YEARLY, not {freq}")
    if "bymonthday" in fields and freq == "WEEKLY":
        raise wrong("BYMONTHDAY cannot stand with FREQ=WEEKLY")
    if "byyearday" in fields and freq in ("DAILY", "WEEKLY", "MONTHLY"):
        raise wrong(f"BYYEARDAY cannot stand with FREQ={freq}")
    if "bysetpos" in fields and not any(name.startswith("by") and name != "bysetpos" for name in fields):
        raise wrong("BYSETPOS needs another BY part to choose from")
