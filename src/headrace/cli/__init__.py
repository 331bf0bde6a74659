"""The command line: nouns, then verbs; each command's code is loaded when it is chosen."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Carry out a command and end the process with its exit code (``headrace.cli.exits``)."""
    gc.set_threshold(50_000, 20, 50)  # loading makes no garbage to speak of, and looking for it takes a tenth
    from .app import run  # here, so that importing the package costs nothing

    sys.exit(run(arguments))
