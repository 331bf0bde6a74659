"""Progress: one line at a terminal for a long flow, and nothing anywhere else."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from headrace import flow, task


@task
def part(number):
    if number == 1:
        raise ValueError("no")
    return number

@task
def last():
    sys.stdin.readline()  # the test lets it go on when it has seen the line

@flow
def long():
    for number in range(3):
        part(number, return_state=True)
    last()

long()
"""


def _script(folder: Path) -> list[str]:
    path = folder / "long.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return [sys.executable, str(path)]


def test_a_long_flow_at_a_terminal_tells_how_far_it_is(home: Path, tmp_path: Path) -> None:
    """After two seconds one line counts the tasks that are done, running and failed; the end takes it away."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(_script(tmp_path), stdin=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"2 tasks done, 1 running, 1 failed (0:0" not in shown:
            shown += os.read(ours, 4096)
        assert process.stdin is not None
        process.stdin.write(b"go on\n")
        process.stdin.close()
        while b"Ended as Completed" not in shown:
            shown += os.read(ours, 4096)
    os.close(ours)

    assert process.returncode == 0
    assert b"tasks done" not in shown.split(b"\r\x1b[2K")[-1]


def test_it_is_quiet_when_nobody_watches(home: Path, tmp_path: Path) -> None:
    """With standard error in a pipe there are log lines and no progress."""
    with subprocess.Popen(_script(tmp_path), stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it runs on: that much time is meant to pass
            process.wait(timeout=3)
        _, shown = process.communicate(b"go on\n")

    assert process.returncode == 0
    assert b"Ended as Completed" in shown
    assert b"tasks done" not in shown
