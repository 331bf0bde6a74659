"""Scripts in processes of their own, for what a test must not do to its own process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from headrace.journal.reader import iterate
from headrace.model import entries

PRELUDE = """
import os, sys
from pathlib import Path
from headrace.journal.writer import JournalWriter
from headrace.model.entries import Log, Missing, State, encode

def line(text, **more):
    return encode(Log(1, 20, "user", text, **more)) + b"\\n"

def state(run, type="COMPLETED"):
    return encode(State(run, 1, type)) + b"\\n"

def tell(count, reason):
    return encode(Missing(1, count, reason)) + b"\\n"
"""


def run(script: str | list[str], *arguments: object, cwd: Path | None = None) -> str:
    """Run a script to its end and return what it printed; it fails the test if it fails."""
    done = subprocess.run(command(script, *arguments), capture_output=True, text=True, timeout=30, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(script: str | list[str], *arguments: object) -> subprocess.Popen[str]:
    """Start a script; what it prints can be read from ``stdout``."""
    return subprocess.Popen(
        command(script, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def command(script: str | list[str], *arguments: object) -> list[str]:
    """Return the command line of a script (or of its parts), whose arguments are in ``sys.argv[1:]``."""
    parts = [script] if isinstance(script, str) else script
    return [sys.executable, "-c", PRELUDE + "".join(map(textwrap.dedent, parts)), *map(str, arguments)]


def records(path: Path) -> list[entries.Entry | None]:
    """Return the records of a journal; ``None`` for each line that cannot be read."""
    return [entry for _, entry in iterate(path)]


def messages(path: Path) -> list[str]:
    """Return the texts of a journal's log records; every line must be readable."""
    found = records(path)
    assert None not in found
    return [entry.message for entry in found if isinstance(entry, entries.Log)]


def ended(path: Path) -> list[str]:
    """Return the ids of the runs that say in a journal that they completed."""
    return [e.run for e in records(path) if isinstance(e, entries.State) and e.type == "COMPLETED"]
