"""The decorators keep signatures for checkers: what mypy infers and refuses is part of the product."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SNIPPETS = Path(__file__).parent / "snippets"
FILES = sorted(SNIPPETS.glob("*.py"))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, list[str]]]:
    """What mypy says of every snippet: ``{file: {line: [text, ...]}}``; one run for all, because it is slow."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--hide-error-context"),
            *("--show-error-codes", "--no-pretty", "--no-error-summary", "--show-absolute-path"),
            *("--cache-dir", str(tmp_path_factory.getbasetemp().parent / "mypy-cache")),
            *map(str, FILES),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=SNIPPETS,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, dict[int, list[str]]] = {path.name: {} for path in FILES}
    for line in done.stdout.splitlines():
        match = re.match(r"(.+?):(\d+): (?:error|note): (.*)", line)
        if match and Path(match[1]).name in found:
            found[Path(match[1]).name].setdefault(int(match[2]), []).append(match[3])
    return found


def expectations(path: Path) -> list[tuple[int, str, str]]:
    """Return ``[(line, "reveal" or "error", text), ...]`` as the comments of a snippet say."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.search(r"  # (reveal|error): (.+)$", line)
        if match:
            rows.append((number, match[1], match[2]))
    return rows


def plain(type_text: str) -> str:
    """Return a type without its module paths."""
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", type_text)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_types_are_inferred_and_wrong_calls_refused(
    path: Path, said: dict[str, dict[int, list[str]]]
) -> None:
    """Each commented line is judged as its comment says, and no other line has an error."""
    of_file = said[path.name]
    rows = expectations(path)
    wrong = []
    for number, kind, text in rows:
        told = " | ".join(of_file.get(number, []))
        if kind == "reveal":
            match = re.search(r'Revealed type is "(.*?)"(?: \||$)', told)
            right = match is not None and plain(match[1]) == text
        else:
            right = text in told
        if not right:
            wrong.append(f"line {number}: expected {kind} {text!r}, mypy said {told!r}")
    unexpected = sorted(set(of_file) - {number for number, _, _ in rows})

    assert len(rows) > 5
    assert wrong == []
    assert [f"line {number}: {of_file[number]}" for number in unexpected] == []
