"""Write what people and programs read: tables, JSON, times and durations."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import click

from headrace.model.states import DEFAULT_NAME, colour_of

_SHORT_ID = 12
"""Characters of an id's last group: random, where the first ones are the time and alike for neighbours."""


class Cell(NamedTuple):
    """One field of a table."""

    text: str
    colour: str = ""
    """As Rich names it; empty: the terminal's own."""
    is_id: bool = False
    """Whether the text is an id, which a narrow terminal may shorten to its end."""


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``-o/--output``; its function gets ``output``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table for people, or JSON with the REST contract's field names.",
    )(command)


def write_json(value: Any) -> None:
    """Write a value as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def write_json_line(value: Any) -> None:
    """Write a value as one line of JSON, at once."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))


def write_table(headers: Sequence[str], rows: Iterable[Sequence[Cell | str]], *, empty: str) -> None:
    """Write rows under headers; ``empty`` is what to say, on standard error, when there are none.

    At a terminal it is coloured and fits the width; elsewhere nothing is cut, and columns are two spaces apart.
    """
    cells = [[_cell(field) for field in row] for row in rows]
    if not cells:
        click.echo(empty, err=True)
        return
    if sys.stdout.isatty():
        _write_rich(headers, cells)
    else:
        _write_plain(headers, cells)


def _cell(field: Cell | str) -> Cell:
    cell = field if isinstance(field, Cell) else Cell(field)
    # A line end inside a field would tear the table, and a control character may steer the terminal.
    return cell._replace(text=printable(cell.text))


def printable(text: str) -> str:
    """Return text in which line ends and control characters are shown, not carried out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else {"\n": "⏎", "\t": " "}.get(c, "\ufffd") for c in text)


def without_controls(text: str) -> str:
    """Return text of several lines without characters that could steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _write_plain(headers: Sequence[str], cells: list[list[Cell]]) -> None:
    texts = [list(headers), *([cell.text or "-" for cell in row] for row in cells)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(headers))]
    for row in texts:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _write_rich(headers: Sequence[str], cells: list[list[Cell]]) -> None:
    from rich.console import Console  # here: 40 ms, and only a terminal needs it
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    short = _needed_width(headers, cells) > shutil.get_terminal_size().columns
    for column, header in enumerate(headers):
        is_id = cells[0][column].is_id
        table.add_column(header, no_wrap=is_id, overflow="fold")
    for row in cells:
        table.add_row(*(Text(_shortened(cell) if short else cell.text, style=cell.colour) for cell in row))
    Console(highlight=False, soft_wrap=False).print(table)


def _needed_width(headers: Sequence[str], cells: list[list[Cell]]) -> int:
    columns = range(len(headers))
    return sum(max(len(headers[c]), *(len(row[c].text) for row in cells)) + 2 for c in columns)


def _shortened(cell: Cell) -> str:
    return "…" + cell.text[-_SHORT_ID:] if cell.is_id and len(cell.text) > _SHORT_ID else cell.text


def id_cell(id: str | None) -> Cell:
    """Return the field of an id."""
    return Cell(id or "", is_id=True)


def state_cell(run: dict[str, Any]) -> Cell:
    """Return the field of a run's state, in its colour."""
    kind, name = run.get("state_type") or "", run.get("state_name") or ""
    return Cell(name or DEFAULT_NAME.get(kind, ""), colour_of(kind, name) if kind in DEFAULT_NAME else "")


def styled(cell: Cell) -> str:
    """Return a field's text, coloured where standard output is a terminal."""
    text = printable(cell.text)
    if not cell.colour or not _in_colour():
        return text
    named = {"dark_orange": 208}  # the one colour of ours that is not among the sixteen
    return click.style(text, fg=named.get(cell.colour, cell.colour))


def _in_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def heading(text: str) -> None:
    """Write the line over a part of a longer view."""
    click.echo()
    click.echo(click.style(text, bold=True) if _in_colour() else text)


def moment(text: str | None) -> datetime | None:
    """Return the contract's text of a time as a datetime in the local zone."""
    if not text:
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()


def local_time(text: str | None, *, millis: bool = False) -> str:
    """Return a time as people of this host write it: ``2026-11-23 12:04:31``."""
    when = moment(text)
    if when is None:
        return ""
    shown = when.strftime("%Y-%m-%d %H:%M:%S")
    return f"{shown}.{when.microsecond // 1000:03d}" if millis else shown


def duration(seconds: float | None) -> str:
    """Return a length of time in at most two units: ``3 ms``, ``1.2 s``, ``4 min 3 s``, ``2 h 5 min``."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, part, part_size in (
        ("d", 86_400, "h", 3_600),
        ("h", 3_600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // part_size
            return f"{whole // size} {unit}" + (f" {rest} {part}" if rest else "")
    raise AssertionError("60 seconds and more fit one of the units")


def can_show(character: str) -> bool:
    """Say whether standard output's encoding has a character."""
    try:
        character.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
