"""What a person at a terminal sees: colours, and lines that fit."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

from .conftest import HEADRACE
from .test_journal_commands import FIRST, write


def at_terminal(*arguments: str, columns: int) -> str:
    """Run ``headrace`` with its output on a terminal of some width; return what it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [str(HEADRACE), *arguments],
        stdout=theirs,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # Linux tells the end of a terminal so
        pass
    os.close(ours)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 0, error
    return written.decode().replace("\r\n", "\n")


def plain(text: str) -> str:
    """Return text without escape sequences."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_wide_terminal_shows_whole_ids_in_colour(home: Path) -> None:
    """Failed is red."""
    write(home, FIRST)
    shown = at_terminal("journal", "ls", columns=160)

    assert FIRST in shown
    assert re.search(r"\x1b\[31mFailed", shown)


def test_a_narrow_terminal_shows_the_end_of_ids(home: Path) -> None:
    """The end is random, the beginning is the time; and commands take it back as it is shown."""
    write(home, FIRST)
    shown = plain(at_terminal("journal", "ls", columns=80))

    assert FIRST not in shown
    assert f"…{FIRST[-12:]}" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "brave-otter" in at_terminal("journal", "show", f"…{FIRST[-12:]}", columns=80)


def test_a_pipe_gets_no_colour(home: Path) -> None:
    """What reads it may be a program."""
    write(home, FIRST)
    done = subprocess.run([str(HEADRACE), "journal", "ls"], capture_output=True, timeout=30, check=True)

    assert b"\x1b" not in done.stdout
