"""The page of the docs that shows the last measured table, between two markers."""

from __future__ import annotations

from .machine import ROOT

PATH = ROOT / "docs" / "reference" / "benchmarks.md"
BEGIN = "<!-- measured: written by `python -m benchmarks --write` -->"
END = "<!-- end of measured -->"


def write(text: str) -> None:
    """Put ``text`` between the markers of the page.

    Raises:
        ValueError: the page has lost a marker.
    """
    page = PATH.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PATH.name} has lost one of its markers. Put back {BEGIN!r} and {END!r}.")
    PATH.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
