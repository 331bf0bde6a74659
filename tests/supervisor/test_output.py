"""What a run prints becomes lines of its log: each once, bounded, and its disk given back."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.supervisor import output
from headrace.supervisor.output import LINE_LIMIT, Output


def write(path: Path, data: bytes) -> None:
    """Append as a process whose standard output is the file."""
    with path.open("ab") as file:
        file.write(data)


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30)), max_size=6
    ),
    st.booleans(),
)
def test_every_line_is_told_once_in_order_however_it_was_written(
    batches: list[list[str]], restart: bool
) -> None:
    """Looks fall between writes, and a new supervisor goes on where the last one was."""
    with tempfile.TemporaryDirectory() as folder:
        path, lines = Path(folder) / "output", []
        path.touch()
        taking = Output(path, lines.append)
        for batch in batches:
            data = "".join(f"{line}\n" for line in batch).encode()
            write(path, data[: len(data) // 2])
            taking.take()
            write(path, data[len(data) // 2 :])
            if restart:
                taking.close()
                taking = Output(path, lines.append)
            taking.take()
        assert taking.take(final=True) == 0
        taking.close()
        assert lines == [line for batch in batches for line in batch]


def test_a_real_process_writes_and_its_last_line_has_no_end(tmp_path: Path) -> None:
    """Both streams are one file; what is left at the end is told though no line end came."""
    lines: list[str] = []
    path = tmp_path / "output"
    taking = Output(path, lines.append)
    assert taking.take() == 0  # there is no file yet

    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    code = "import sys, os; os.write(1, b'one\\n'); os.write(2, b'two\\n\\xff!\\n'); os.write(1, b'no end')"
    subprocess.run([sys.executable, "-c", code], stdout=fd, stderr=fd, check=True)
    os.close(fd)

    assert taking.take() == 3
    assert taking.take(final=True) == 1
    assert lines == ["one", "two", "\ufffd!", "no end"]
    assert taking.last_untold() == [], "all of it is in the log"
    taking.close()


def test_a_line_without_end_is_told_after_a_second_and_its_end_is_no_new_line(tmp_path: Path) -> None:
    """Somebody may have printed a question and wait."""
    lines: list[str] = []
    path = tmp_path / "output"
    taking = Output(path, lines.append)
    write(path, b"really? ")
    assert taking.take() == 0
    until(lambda: taking.take() == 1)
    write(path, b"\nnext\n")
    taking.take()
    taking.close()
    assert lines == ["really? ", "next"]


def test_a_progress_bar_is_its_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Carriage returns draw over what was there; a log keeps what a person would see in the end."""
    lines: list[str] = []
    path = tmp_path / "output"
    taking = Output(path, lines.append)
    write(path, b"".join(b"\r%3d %%" % step for step in range(5000)))
    assert taking.take() == 0
    assert taking.take(final=False) == 0
    write(path, b"\rdone 100 %\r\nafter\r\n")
    assert taking.take() == 2
    assert lines == ["done 100 %", "after"]

    monkeypatch.setattr(output, "_BAR_S", 0.0)
    write(path, b"\r 1 %\r 2 %")
    assert taking.take() == 1
    taking.close()
    assert lines[-1] == " 2 %"


def test_a_long_line_is_cut_and_says_so(tmp_path: Path) -> None:
    """Also one that never ends: its beginning is told once, and the next line is whole again."""
    lines: list[str] = []
    path = tmp_path / "output"
    taking = Output(path, lines.append)
    write(path, "ä".encode() * LINE_LIMIT + b"\n")
    write(path, "ä".encode() * (LINE_LIMIT + 1) + b"\n")
    write(path, b"x" * 3_000_000)
    taking.take(final=True)
    write(path, b"x" * 1000 + b"\nwhole\n")
    taking.take(final=True)
    taking.close()

    assert lines[0] == "ä" * LINE_LIMIT
    assert lines[1] == "ä" * LINE_LIMIT + "... [cut: a line of 20,002 bytes in all]"
    assert lines[2].startswith("x" * LINE_LIMIT + "... [cut: a line of more than")
    assert lines[3:] == ["whole"]


def test_past_its_limit_output_is_consumed_and_counted(tmp_path: Path) -> None:
    """The disk is freed, the last lines are still known, and one line says how much is missing."""
    lines: list[str] = []
    path = tmp_path / "output"
    taking = Output(path, lines.append, limit_bytes=50_000)
    line = b"0123456789" * 10 + b"\n"
    for _ in range(20):
        write(path, line * 10_000)  # 20 MB in all
        taking.take()
        taking.take()
    write(path, b"the very last\n")
    taking.take(final=True)
    taking.take(final=True)

    assert path.stat().st_blocks * 512 < 500_000
    assert taking.last_untold()[-1] == "the very last"
    told = [text for text in lines if text.startswith("0123")]
    assert len(told) == 250  # each counts 100 bytes more, for its record
    assert lines[250] == "[The run's output has passed its limit of 50.0 kB; what follows is left out.]"
    assert lines[251:] == ["[20.2 MB of the run's output were left out: it passed its limit of 50.0 kB.]"]
    taking.close()


def test_a_new_supervisor_knows_the_last_lines_and_the_limit(tmp_path: Path) -> None:
    """What was told counts on, and evidence has its lines though nothing new was printed."""
    first: list[str] = []
    second: list[str] = []
    path = tmp_path / "output"
    write(path, b"one\ntwo\n" + b"z" * 400 + b"\n")
    before = Output(path, first.append, limit_bytes=600)
    before.take()
    before.close()
    after = Output(path, second.append, limit_bytes=600)
    write(path, b"three\n")
    after.take()
    assert len(first) == 4  # the limit was reached with the third line
    assert second == []
    assert after.last_untold() == ["one", "two", "z" * 400, "three"]
    after.close()


def test_lines_are_echoed_whole_even_when_nobody_reads(tmp_path: Path) -> None:
    """A worker's terminal may be closed; the log is not to suffer."""
    lines: list[str] = []
    shown: list[bytes] = []

    def echo(data: bytes) -> None:
        shown.append(data)
        raise BrokenPipeError

    path = tmp_path / "output"
    write(path, b"one\ntwo")
    taking = Output(path, lines.append, echo=echo)
    taking.take(final=True)
    taking.close()
    assert shown == [b"one\n", b"two\n"]
    assert lines == ["one", "two"]


def test_output_that_was_emptied_is_taken_from_its_beginning(tmp_path: Path) -> None:
    """User code may truncate what it prints to."""
    lines: list[str] = []
    path = tmp_path / "output"
    write(path, b"a long first line\n")
    taking = Output(path, lines.append)
    taking.take()
    os.truncate(path, 0)
    write(path, b"anew\n")
    taking.take()
    taking.close()
    assert lines == ["a long first line", "anew"]
