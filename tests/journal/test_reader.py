"""The reader: whole lines, wherever the bytes were cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.journal.reader import iterate, read_header, read_whole, split, whole
from headrace.model.entries import Log, Open, encode

from ..model.journals import JOURNAL, journals

LINES = [
    encode(Log(n, 20, "user", text)) + b"\n" for n, text in enumerate(["one", "zwei é", "3\n\0", "x" * 300])
]
DATA = b"".join(LINES)
BORDERS = [sum(map(len, LINES[:n])) for n in range(len(LINES) + 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_a_journal_cut_at_any_byte_reads_as_its_whole_lines_and_one_torn(path: Path) -> None:
    """Everything before the tear is there; a tear never becomes a record."""
    full = list(split(DATA))
    for cut in range(len(DATA) + 1):
        path.write_bytes(DATA[:cut])
        lines = max(n for n, border in enumerate(BORDERS) if border <= cut)
        torn = [(BORDERS[lines], None)] if cut > BORDERS[lines] else []

        assert full[:lines] == list(split(DATA[:cut]))
        assert DATA[: BORDERS[lines]] == whole(DATA[:cut])
        assert full[:lines] + torn == list(iterate(path, chunk=64))


def test_reading_may_begin_at_the_end_of_any_line(path: Path) -> None:
    """Offsets are places in the file, whatever was read before."""
    path.write_bytes(DATA)
    full = list(split(DATA))
    for n, border in enumerate(BORDERS):
        assert full[n:] == list(iterate(path, border))
        assert full[n:] == list(split(DATA[border:], border))


@pytest.mark.parametrize("limit", [1, 50, 100, 1000])
def test_a_piece_is_whole_lines_and_at_least_one(path: Path, limit: int) -> None:
    """A line longer than the limit is read whole: shipping never stands still."""
    path.write_bytes(DATA + b'{"k":"log","torn')
    offset, pieces = 0, []
    while piece := read_whole(path, offset, limit):
        pieces.append(piece)
        offset += len(piece)

    assert b"".join(pieces) == DATA
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert read_whole(path, len(DATA) + 1000, limit) == b""


def test_a_line_that_cannot_be_read_hides_no_other() -> None:
    """Noise is told; empty lines, blanked ones and the NUL page after a power cut hold nothing to tell of."""
    data = LINES[0] + b"noise\n" + b"\n" + b"\0" * 4096 + b"\n" + b"    \n" + LINES[1]

    assert [entry and entry.message for _, entry in split(data)] == ["one", None, "zwei é"]  # type: ignore[union-attr]


@given(journals(), st.data())
def test_records_have_the_same_places_however_a_journal_is_read(data: bytes, draw: st.DataObject) -> None:
    """In one piece, or in two."""
    cut = len(whole(data[: draw.draw(st.integers(0, len(data)))]))

    assert list(split(data)) == [*split(data[:cut]), *split(data[cut:], cut)]


def test_a_header_is_the_first_record(path: Path) -> None:
    """Anything else at the beginning is no header; so is a file that is not there."""
    header = Open(JOURNAL, 1, (1, 2), 3, 4, "boot", "mill")

    assert read_header(path) is None

    for content, expected in (
        (encode(header) + b"\n", header),
        (encode(header), header),
        (DATA, None),
        (b"", None),
    ):
        path.write_bytes(content)

        assert expected == read_header(path)
