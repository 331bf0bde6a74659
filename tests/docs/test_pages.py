"""The README and the how-to pages are true: their files are made and their commands typed, in their order."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ..examples.conftest import REPOSITORY, Reader
from ..examples.test_tutorial import blocks_of
from .pages import DOCS, fits, follow, pages

PAGES = [REPOSITORY / "README.md", *sorted((DOCS / "how-to").glob("*.md"))]
CODE_BEFORE_LINE = 30


def kernel() -> tuple[int, int]:
    """Return the Linux version, (0, 0) elsewhere."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release) if os.uname().sysname == "Linux" else None
    return (int(found[1]), int(found[2])) if found else (0, 0)


sees_exit_status = kernel() >= (6, 15)
"""Whether the kernel tells somebody who is not the parent how a process ended."""


def marks_of(page: Path) -> list[pytest.MarkDecorator]:
    """Skip pages that show how a process ended, where that cannot be seen."""
    shown = "Killed by SIGKILL" in page.read_text(encoding="utf-8")
    return [pytest.mark.skipif(shown and not sees_exit_status, reason="needs Linux 6.15 or later")]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", [pytest.param(page, marks=marks_of(page), id=page.stem) for page in PAGES])
def test_a_page_prints_what_it_says(page: Path, reader: Reader) -> None:
    reader.environ["HEADRACE_SERVER_PORT"] = "0"  # the reader's port may be taken on this machine
    text = page.read_text(encoding="utf-8")
    try:
        typed = follow(text, reader)
    finally:
        reader.types("headrace", "server", "stop")

    assert typed > 0


def test_a_page_that_is_not_true_is_found(reader: Reader) -> None:
    with pytest.raises(AssertionError, match="the page says"):
        follow("```console\n$ echo 2 rows\n3 rows\n```\n", reader)


def test_only_what_differs_between_runs_is_masked() -> None:
    assert fits("ran for 40 ms", "ran for 1.5 s")
    assert fits("13:21:07.480 | INFO", "09:00:00.001 | INFO")
    assert not fits("state Failed", "state Crashed")
    assert not fits("30 rows", "20 rows")
    assert not fits("exit code 1", "exit code 2")


def test_the_readme_shows_code_at_once() -> None:
    lines = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines, 1) if line.startswith("```python"))

    assert first < CODE_BEFORE_LINE


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_python_in_a_page_is_python(page: Path) -> None:
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.kind == "python":
            compile(block.text, block.file or "page", "exec")
