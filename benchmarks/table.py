"""Take measurements and print their table: floor, ours, the peer's, and the ratio."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from . import machine, peer
from .measure import Measurement, Row, Samples, median
from .side import OURS, Side


class Line(NamedTuple):
    """A row with what was measured for it."""

    row: Row
    ours: list[float]
    theirs: list[float]


def measure(measurements: Iterable[Measurement], peer_side: Side | None) -> list[Line]:
    """Take each measurement of ours and then of the peer's, so that both meet the same machine."""
    lines = []
    for measurement in measurements:
        print(f"Measuring: {'; '.join(row.title for row in measurement.rows)}", file=sys.stderr)
        ours = measurement.take(OURS)
        theirs: Samples = {}
        if peer_side is not None and measurement.peer:
            try:
                theirs = measurement.take(peer_side)
            except (RuntimeError, TimeoutError, OSError, ValueError) as error:
                print(f"The peer could not be measured here: {str(error)[-400:]}", file=sys.stderr)
        lines += [Line(row, ours.get(row.title, []), theirs.get(row.title, [])) for row in measurement.rows]
    return lines


def render(lines: Sequence[Line], peer_version: str | None) -> str:
    """Return the table in Markdown; medians, with the fastest repetition of ours beside."""
    head = ["", "floor", "Headrace", "its best", f"Prefect {peer_version or ''}".strip(), "ratio"]
    cells = [head, ["---", *["--:"] * 5], *(_cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "| "
        + " | ".join(
            _pad(cell, width, number) for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in cells
    )


def missed(lines: Iterable[Line]) -> list[str]:
    """Return the titles of rows whose floor was not kept, or that could not be measured."""
    return [line.row.title for line in lines if not line.ours or not line.row.holds(median(line.ours))]


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _cells(line: Line) -> list[str]:
    row = line.row
    floor = _floor(row)
    if not line.ours:
        return [row.title, floor, "not measured", "", "", ""]
    value = median(line.ours)
    best = max(line.ours) if row.more_is_better else min(line.ours)
    told = _number(value, row.unit) + ("" if row.holds(value) else " (missed)")
    if not line.theirs:
        return [row.title, floor, told, _number(best, row.unit), "", ""]
    theirs = median(line.theirs)
    ratio = value / theirs if row.more_is_better else theirs / value
    return [row.title, floor, told, _number(best, row.unit), _number(theirs, row.unit), f"{ratio:,.0f} ×"]


def _floor(row: Row) -> str:
    if row.floor is None:
        return ""
    return f"{'≥' if row.more_is_better else '≤'} {_number(row.floor, row.unit)}"


def _number(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    text = f"{value:,.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text}/s" if unit == "/s" else f"{text} {unit}"


def find_peer(*, wanted: bool) -> Side | None:
    """Return the peer's side, or ``None`` with a word on standard error why not."""
    if not wanted:
        return None
    try:
        return Side("prefect", str(peer.python()))
    except peer.PeerMissing as error:
        print(f"Prefect could not be installed, so its column stays empty: {error}", file=sys.stderr)
        return None


def main(*measurements: Measurement, arguments: Sequence[str] | None = None) -> int:
    """Measure and print; for one file alone, or for all."""
    parser = argparse.ArgumentParser(description="Measure what Headrace costs.")
    add_peer_option(parser)
    options = parser.parse_args(arguments)
    side = find_peer(wanted=not options.no_peer)
    lines = measure(measurements, side)
    print(render(lines, peer.version() if side else None))
    for line in lines:
        print(f"  {line.row.title}: {', '.join(f'{value:.4g}' for value in line.ours)} {line.row.unit}")
    print(f"Machine: {machine.describe()}; load {machine.load()}")
    return 0


def add_peer_option(parser: argparse.ArgumentParser) -> None:
    """Let the user leave the peer out."""
    parser.add_argument("--no-peer", action="store_true", help="do not install or measure Prefect")
