"""Tables, durations and sizes as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.output import Cell, duration, id_cell, local_time, printable, write_table
from headrace.model.sizes import size_text

ID = "0198aaaa-0000-7000-8000-4f2a91bc03de"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0034, "3 ms"),
        (1.24, "1.2 s"),
        (63, "1 min 3 s"),
        (120, "2 min"),
        (3600 * 2 + 60 * 5, "2 h 5 min"),
        (86400 * 3, "3 d"),
        (None, ""),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float | None, text: str) -> None:
    """Enough to compare runs by."""

    assert duration(seconds) == text


@given(st.floats(0, 1e12))
def test_every_duration_has_a_text(seconds: float) -> None:
    """However long."""

    assert duration(seconds)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (4100, "4.1 kB"), (3_000_000, "3.0 MB"), (5 * 10**12, "5000.0 GB")],
)
def test_sizes(count: int, text: str) -> None:
    """Decimal units, as disks are sold."""

    assert size_text(count) == text


def test_a_table_in_a_pipe_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are aligned, an empty field is a dash, and a line end in a field does not tear the table."""
    long = "x" * 300
    write_table(("ID", "NAME"), [(id_cell(ID), long), ("", "two\nlines \x1b[31m")], empty="")

    assert capsys.readouterr().out == (f"{'ID':<36}  NAME\n{ID}  {long}\n{'-':<36}  two⏎lines \ufffd[31m\n")


def test_an_empty_table_leaves_standard_output_empty(capsys: pytest.CaptureFixture[str]) -> None:
    """A script that counts lines counts none."""
    write_table(("ID",), [], empty="No runs.")

    assert capsys.readouterr() == ("", "No runs.\n")


def test_text_that_steers_a_terminal_is_shown_instead() -> None:
    """A run's name is somebody's input."""

    assert printable("a\x1b[2Jb") == "a\ufffd[2Jb"
    assert printable("naïve ✓") == "naïve ✓"


def test_no_time_is_empty() -> None:
    """A run that has not begun has none."""

    assert local_time(None) == ""


def test_a_cell_of_a_state_without_colour_is_plain() -> None:
    """An unknown type of state does not stop a list."""
    from headrace.cli.output import state_cell

    assert state_cell({"state_type": "NEW", "state_name": "New"}) == Cell("New", "")
    assert state_cell({}) == Cell("", "")
