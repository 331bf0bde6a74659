"""A side of the comparison: which package is measured, with which interpreter, in which surroundings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

PROGRAMS = Path(__file__).resolve().parent / "programs"


class Side(NamedTuple):
    """A package and the interpreter that has it."""

    package: str
    """``headrace`` or ``prefect``: the name that programs import."""
    python: str

    @property
    def is_peer(self) -> bool:
        """Whether this is the package that ours is compared with."""
        return self.package != "headrace"

    def environment(self, home: Path) -> dict[str, str]:
        """Return this process's environment with a private home, and no setting of the machine's user."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HEADRACE_", "PREFECT_", "PYTHON"))
        }
        # What users have: compiled bytecode is written at the first start and read at every later one.
        told = {f"{self.package.upper()}_HOME": str(home), "HOME": str(home)}
        if self.is_peer:
            told |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
            # Its temporary server may take longer than its own limit of 20 s on a busy machine.
            told["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"
        return {**kept, **told}

    def program(self, name: str, *arguments: object) -> list[str]:
        """Return the command that runs one of ``benchmarks/programs`` with this package."""
        return [self.python, str(PROGRAMS / f"{name}.py"), self.package, *map(str, arguments)]


OURS = Side("headrace", sys.executable)
