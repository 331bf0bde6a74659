"""The tutorial is true: its files and commands are tried in their order, and print what the page says."""

from __future__ import annotations

import doctest
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from .conftest import REPOSITORY, Reader

PAGES = sorted((REPOSITORY / "docs" / "tutorial").glob("*.md"))

_FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


_PATIENCE_S = 20.0


class Block(NamedTuple):
    """A fenced block of a page: a file with its name, or what is typed at a terminal."""

    kind: str
    file: str
    text: str


class Step(NamedTuple):
    """A command of a page and what it prints; ``...`` stands for anything."""

    command: str
    output: str


def blocks_of(page: str) -> list[Block]:
    return [Block(*found) for found in _FENCE.findall(page)]


def steps_of(text: str) -> list[Step]:
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
    assert parts[0] == "", f"output before the first command: {parts[0]}"
    return [Step(command, output) for command, output in zip(parts[1::2], parts[2::2], strict=True)]


def follow(page: str, reader: Reader) -> None:
    """Make every file and type every command of a page."""
    for block in blocks_of(page):
        if block.file:
            (reader.folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.kind == "console":
            for step in steps_of(block.text):
                try_step(step, reader)


def try_step(step: Step, reader: Reader) -> None:
    """Type a command and compare; what ``headrace`` shows may take a moment, for a person is slower than a test."""
    deadline = time.monotonic() + (_PATIENCE_S if step.command.startswith("headrace ") else 0)
    while True:
        done = reader.types("sh", "-c", step.command)
        if fits(step, done):
            return
        assert time.monotonic() < deadline, (
            f"$ {step.command}\nthe page says:\n{step.output}\nit printed (exit code {done.returncode}):\n{done.stdout}"
        )


def fits(step: Step, done: subprocess.CompletedProcess[str]) -> bool:
    """Say whether a command printed what the page says; ``headrace`` itself must succeed, a script may fail."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    same = doctest.OutputChecker().check_output(step.output, done.stdout, options)
    return same and (done.returncode == 0 or not step.command.startswith("headrace "))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tutorial_is_true(page: Path, reader: Reader) -> None:
    text = page.read_text(encoding="utf-8")
    reader.environ["HEADRACE_SERVER_PORT"] = "0"  # the reader's port may be taken on this machine
    typed = [step for block in blocks_of(text) if block.kind == "console" for step in steps_of(block.text)]
    assert len(typed) > 8

    follow(text, reader)


def test_a_page_that_is_not_true_is_found(reader: Reader) -> None:
    follow("```text a.txt\nhello\n```\n\n```console\n$ cat a.txt\nhe...\n```\n", reader)
    with pytest.raises(AssertionError, match="the page says"):
        follow("```console\n$ cat a.txt\ngoodbye\n```\n", reader)
