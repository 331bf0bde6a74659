"""Log lines for people, and the options that choose among them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import click

from headrace.client import calls
from headrace.client.calls import Json
from headrace.client.connection import Connection

from .output import local_time, without_controls, write_json

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _level(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Return the number of a level that is given by name, or by number as in ``logging``."""
    if text is None:
        return None
    word = text.strip().upper()
    number = int(word) if word.isdecimal() else logging.getLevelName("WARNING" if word == "WARN" else word)
    if not isinstance(number, int):
        raise click.BadParameter(
            f"{text!r} is no level. Give one of {', '.join(_LEVELS).lower()}, or a number."
        )
    return number


def log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--level``, ``--limit`` and ``--tail``."""
    options = (
        click.option(
            "--level",
            metavar="LEVEL",
            callback=_level,
            help="Only lines of this level and above, such as warning.",
        ),
        click.option(
            "--limit", type=click.IntRange(min=1), help="The most lines to show, from the first one on."
        ),
        click.option("--tail", type=click.IntRange(min=0), help="Only this many of the last lines."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def write_logs(
    connection: Connection, filters: Json, *, limit: int | None, tail: int | None, output: str
) -> None:
    """Write the log lines that are there now, oldest first."""
    if tail is not None:
        found = iter(calls.last_logs(connection, filters, tail) if tail else [])
    else:
        found = calls.logs(connection, filters, limit=limit)
    if output == "json":
        write_json(list(found))
        return
    for line in found:
        click.echo(log_line(line))


def log_line(line: Json) -> str:
    """Return ``time | LEVEL | logger | message``; the message may have several lines."""
    level = logging.getLevelName(line["level"])
    level = level if not level.startswith("Level ") else str(line["level"])
    when = local_time(line["timestamp"], millis=True)
    return f"{when} | {level:<7} | {without_controls(line['name'])} | {without_controls(line['message'])}"
