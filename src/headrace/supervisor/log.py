"""A few lines in the journal's folder, for whoever asks why it is still in the spool."""

from __future__ import annotations

import contextlib
import time

from ..journal.spool import Folder

_LIMIT = 200
"""Lines that one supervisor writes at most."""


class Log:
    """Write lines into ``supervisor.log``, which is made only if there is one; called like a function."""

    def __init__(self, folder: Folder) -> None:
        self._path = folder.path / "supervisor.log"
        self._lines = 0

    def __call__(self, line: str) -> None:
        self._lines += 1
        if self._lines <= _LIMIT:
            with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n")
