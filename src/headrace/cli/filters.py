"""Options that narrow a list down, and the contract's filters they stand for."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import click

from headrace.client.calls import Json
from headrace.model.states import KINDS, StateType

from .values import length_of


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--state``, ``--flow``, ``--tag``, ``--since`` and ``--limit``."""
    options = (
        click.option(
            "--state",
            "states",
            multiple=True,
            metavar="STATE",
            help="Only runs in this state: a type or a name (failed, Lost); several: repeat it or use commas.",
        ),
        click.option(
            "--flow", "flows", multiple=True, metavar="NAME", help="Only runs of this flow; may be repeated."
        ),
        click.option(
            "--tag", "tags", multiple=True, help="Only runs with this tag; repeated: with all of them."
        ),
        click.option(
            "--since",
            metavar="TIME",
            help="Only runs from this time on: 30m, 2h, 1d (ago), or a date or time such as 2026-11-23T08:00.",
        ),
        limit_option(50),
    )
    for option in reversed(options):
        command = option(command)
    return command


def limit_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option ``--limit`` with a default."""
    return click.option(
        "--limit", type=click.IntRange(min=1), default=default, show_default=True, help="The most to list."
    )


def run_filter(
    states: tuple[str, ...], tags: tuple[str, ...], since: str | None, now: datetime
) -> Json | None:
    """Return the contract's filter of flow runs or task runs; ``None`` when nothing narrows it."""
    found: Json = {}
    if states:
        found["state"] = state_filter(states)
    if tags:
        found["tags"] = {"all_": list(tags)}
    if since:
        # Not the start time: runs that wait for theirs would be missing.
        found["expected_start_time"] = {"after_": parse_since(since, now).isoformat()}
    return found or None


def flow_filter(flows: tuple[str, ...]) -> Json | None:
    """Return the contract's filter of flows by name; ``None`` when no name is given."""
    return {"name": {"any_": list(flows)}} if flows else None


def state_filter(texts: tuple[str, ...]) -> Json:
    """Return the contract's filter for states given by type or name, in any case.

    Raises:
        click.BadParameter: a word is neither; the message names near ones.
    """
    types: list[str] = []
    names: list[str] = []
    for word in [part.strip() for text in texts for part in text.split(",") if part.strip()]:
        kind, name = _state(word)
        (types if kind else names).append(kind or name)
    found: Json = {}
    if types:
        found["type"] = {"any_": types}
    if names:
        found["name"] = {"any_": names}
    if types and names:
        found["operator"] = "or_"
    return found


def _state(word: str) -> tuple[str, str]:
    """Return ``(type, "")`` or ``("", name)``."""
    plain = word.replace("-", "").replace("_", "").lower()
    for kind in StateType:
        if plain == kind.value.lower():
            return kind.value, ""
    known = {kind.name.lower(): kind.name for kind in KINDS}
    if plain in known:
        return "", known[plain]
    near = difflib.get_close_matches(plain, known, n=3)
    hint = " or ".join(known[match] for match in near) or ", ".join(sorted(known.values()))
    raise click.BadParameter(f"There is no state {word!r}. Did you mean {hint}?", param_hint="--state")


def parse_since(text: str, now: datetime) -> datetime:
    """Return the moment that ``2h``, ``1d12h``, ``2026-11-23`` or ``2026-11-23T08:00`` means.

    A length of time counts back from ``now``; a time without a zone is local.

    Raises:
        click.BadParameter: it means none.
    """
    try:
        length = length_of(text)
        if length is not None:
            return (now - length).astimezone(timezone.utc)
    except OverflowError as error:
        raise click.BadParameter(f"{text!r} is longer ago than time goes.", param_hint="--since") from error
    try:
        return datetime.fromisoformat(text.strip().replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is no time. Give a length such as 30m, 2h or 1d, or a date or time such as 2026-11-23T08:00.",
            param_hint="--since",
        ) from error
