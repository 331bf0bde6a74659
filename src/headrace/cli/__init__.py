"""The command line: nouns, then verbs; each command's code is loaded when it is chosen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Carry out a command and end the process with its exit code (``headrace.cli.exits``)."""
    from .app import run  # here, so that importing the package costs nothing

    sys.exit(run(arguments))
