"""Pages that are run as their readers run them, with what differs from run to run masked on both sides."""

from __future__ import annotations

import doctest
import re
import time
from pathlib import Path

from ..examples.conftest import REPOSITORY, Reader
from ..examples.test_tutorial import blocks_of, steps_of

DOCS = REPOSITORY / "docs"

_PATIENCE_S = 20.0
"""How long what ``headrace`` shows may take to be as the page says; a person types more slowly than a test."""

_MASKS = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "HASH"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d{3}\b"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? (ms|s|µs)(?= |$)", re.MULTILINE), "DURATION"),
    (re.compile(r"\b\d+(\.\d+)? (B|kB|MB)\b"), "SIZE"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "URL"),
    (re.compile(r"\bpid( +)\d+"), "pid NUMBER"),
    (re.compile(r"^  host  .*$", re.MULTILINE), "  host"),
    (re.compile(r"[█▒]+"), "BAR"),
    (re.compile(r'File "[^"]*/'), 'File "'),
    # What a kernel or a cgroup need not tell.
    (
        re.compile(
            r"; the kernel's OOM killer did not do it|; whether the OOM killer did it could not be seen"
        ),
        "",
    ),
    (re.compile(r"^  (oom killed|peak memory|cpu) .*\n", re.MULTILINE), ""),
    (re.compile(r"^ +[~^]+\n", re.MULTILINE), ""),  # Python 3.11 and later mark the place in a line
)


def masked(text: str) -> str:
    """Return a text without what is another in each run: times, ids, sizes, addresses."""
    for pattern, word in _MASKS:
        text = pattern.sub(word, text)
    return text


def fits(told: str, printed: str) -> bool:
    """Say whether a command printed what a page tells; ``...`` stands for anything, also for nothing."""
    told = re.sub(r"^\.\.\.\n\s*", "...", told, flags=re.MULTILINE)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(masked(told), masked(printed), options)


def follow(page: str, reader: Reader) -> int:
    """Make every file of a page that has a name and type every command; return how many were typed."""
    typed = 0
    for block in blocks_of(page):
        if block.file:
            (reader.folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.kind == "console":
            for step in steps_of(block.text):
                _try(step.command, step.output, reader)
                typed += 1
    return typed


def _try(command: str, told: str, reader: Reader) -> None:
    deadline = time.monotonic() + (_PATIENCE_S if command.startswith("headrace ") else 0)
    while True:
        done = reader.types("sh", "-c", command)
        must_succeed = command.startswith(("headrace ", "pytest "))
        if fits(told, done.stdout) and (done.returncode == 0 or not must_succeed):
            return
        assert time.monotonic() < deadline, (
            f"$ {command}\nthe page says:\n{told}\nit printed (exit code {done.returncode}):\n{done.stdout}"
        )


def pages() -> list[Path]:
    """Return every page of the documentation, the README first."""
    others = ("CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")
    return [REPOSITORY / "README.md", *(REPOSITORY / name for name in others), *sorted(DOCS.rglob("*.md"))]
