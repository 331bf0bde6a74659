"""A console that nobody reads costs lines, never time."""

from __future__ import annotations

import os
import select

from headrace.journal.console import Console


def test_what_is_read_arrives() -> None:
    """Whole lines, in order."""
    reader, writer = os.pipe()
    console = Console(writer)

    assert console.write("first\n") == 6
    console.write_bytes(b"second\n")

    assert os.read(reader, 100) == b"first\nsecond\n"
    assert console.dropped == 0
    os.close(reader)
    os.close(writer)


def test_a_full_pipe_drops_lines_and_waits_for_nobody() -> None:
    """The pipe is full after 64 KiB; a megabyte is written all the same, and what comes later arrives again."""
    reader, writer = os.pipe()
    console = Console(writer)
    for _ in range(1000):
        console.write("x" * 999 + "\n")
    assert console.dropped > 0

    while select.select([reader], [], [], 0)[0]:
        os.read(reader, 65536)
    console.write("again\n")
    assert os.read(reader, 100) == b"again\n"
    os.close(reader)
    os.close(writer)


def test_a_reader_that_is_gone_harms_nobody() -> None:
    """No error, no signal."""
    reader, writer = os.pipe()
    os.close(reader)
    Console(writer).write("nobody\n")
    os.close(writer)
