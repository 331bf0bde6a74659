"""Values as people type them: ``KEY=VALUE`` pairs, JSON from an argument, a file or standard input, and times to come."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click

from .exits import Misuse

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LENGTH = re.compile(
    r"(\d+(?:\.\d+)?)(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w)(?![a-z])"
)
_CLOCK = re.compile(r"(\d{1,2})(?::(\d\d))?(?::(\d\d))?\s*(am|pm)?", re.IGNORECASE)


def pairs(texts: Sequence[str], option: str) -> dict[str, Any]:
    """Return ``{key: value}`` of ``KEY=VALUE`` texts; a value is JSON if it can be read so, else text.

    Raises:
        click.BadParameter: a text has no ``=``, or no key before it.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(
                f"{text!r} is no KEY=VALUE. Write it as in {option} day=2026-11-23", param_hint=option
            )
        found[key.strip()] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> Any:
    # NaN and Infinity are Python's, not JSON's: as text they reach the server whole
    raise ValueError(name)


def json_object(text: str, option: str) -> dict[str, Any]:
    """Return the object that JSON text holds; ``-`` reads standard input.

    Raises:
        Misuse: it is not JSON, or no object.
    """
    source = "standard input" if text == "-" else option
    return _object(sys.stdin.read() if text == "-" else text, source)


def json_file(path: str) -> dict[str, Any]:
    """Return the object that a file of JSON holds; ``-`` reads standard input.

    Raises:
        Misuse: it cannot be read, is not JSON, or holds no object.
    """
    if path == "-":
        return _object(sys.stdin.read(), "standard input")
    try:
        return _object(Path(path).read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        raise Misuse(f"{path} is no text in UTF-8, so it holds no JSON.") from error
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror}.") from error


def _object(text: str, source: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Misuse(
            f"What {source} gives is no JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise Misuse(f"What {source} gives is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise Misuse(f'What {source} gives is no JSON object. Write it as in {{"day": "2026-11-23"}}.')
    return found


def length_of(text: str) -> timedelta | None:
    """Return the length of time of ``90s``, ``1h30m``, ``1 day 12 hours``; ``None``: the text is none.

    Raises:
        OverflowError: it is longer than time goes.
    """
    compact = re.sub(r"\s+", "", text.lower())
    parts = _LENGTH.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        return None
    return sum((timedelta(**{_UNITS[unit[0]]: float(number)}) for number, unit in parts), timedelta())


def moment_in(text: str, now: datetime) -> datetime:
    """Return the moment that is ``90s``, ``1h30m``, ``in 5 minutes`` or ``2 days`` from ``now``.

    Raises:
        click.BadParameter: it is no length of time.
    """
    try:
        length = length_of(re.sub(r"^\s*in\s+", "", text, flags=re.IGNORECASE))
        if length is not None:
            return (now + length).astimezone(timezone.utc)
    except OverflowError as error:
        raise click.BadParameter(f"{text!r} is later than time goes.", param_hint="--start-in") from error
    raise click.BadParameter(
        f"{text!r} is no length of time. Give one such as 90s, 5m, 1h30m or '2 days'.",
        param_hint="--start-in",
    )


def moment_at(text: str, now: datetime) -> datetime:
    """Return the moment of ``2026-11-23T17:30``, ``2026-11-23 17:30+01:00``, or the next ``17:30`` or ``5:30pm``.

    A time without a zone is local.

    Raises:
        click.BadParameter: it is no time.
    """
    plain = re.sub(r"^\s*at\s+", "", text, flags=re.IGNORECASE).strip()
    try:
        found = _next_clock(plain, now)
        if found is None:
            found = datetime.fromisoformat(plain.replace("Z", "+00:00"))
        return found.astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is no time. Give one such as 17:30, 5:30pm or 2026-11-23T17:30.",
            param_hint="--start-at",
        ) from error


def _next_clock(text: str, now: datetime) -> datetime | None:
    """Return the next moment at which this host's clock shows a time of day; ``None``: it is none."""
    found = _CLOCK.fullmatch(text)
    if found is None or not (found[2] or found[4]):
        return None
    hour, minute, second = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    if found[4]:
        if not 1 <= hour <= 12:
            raise ValueError(text)
        hour = hour % 12 + (12 if found[4].lower() == "pm" else 0)
    # without a zone until the end: the day after may have another offset
    wall = now.astimezone().replace(tzinfo=None)
    then = wall.replace(hour=hour, minute=minute, second=second, microsecond=0)
    return (then if then > wall else then + timedelta(days=1)).astimezone()
