"""A flow that runs as a script of its own, and its journal, which tells at once what it does."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from ...journal.reader import iterate
from ...journal.spool import Folder, Spool, owner_of
from ...model import runs

_LAST_LINES = 15


class Script:
    """A started script."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, home: Path) -> None:
        self.process = process
        self.output = output
        self._spool = Spool(home)
        self._begun_us = time.time_ns() // 1000 - 60_000_000
        """A journal older than this (with room for a stepped clock) is of an earlier process with our pid."""

    @property
    def pid(self) -> int:
        """The script's process id."""
        return self.process.pid

    def is_alive(self) -> bool:
        """Whether the script still runs."""
        return self.process.poll() is None

    def last_output(self) -> str:
        """Return the last lines of what the script wrote to standard output and error."""
        lines = self.output.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:]) or "(nothing)"

    def journal(self) -> runs.Journal:
        """Return what the script's journal tells up to now; empty while there is none."""
        for _ in range(2):  # the companion may move a folder between finding and reading it: then look again
            folder = self._folder()
            if folder is not None:
                try:
                    return runs.fold(runs.Journal(folder.id), iterate(folder.journal))
                except FileNotFoundError:
                    continue
        return runs.Journal("")

    def _folder(self) -> Folder | None:
        # A script that has ended may be on record already, its journal moved to the shipped ones.
        for folder in reversed([*self._spool.shipped_folders(), *self._spool.folders()]):
            header = owner_of(folder)
            if header is not None and header.pid == self.pid and header.t >= self._begun_us:
                return folder
        return None

    def root(self) -> str | None:
        """Return the id of the script's flow run; ``None`` before it began."""
        return next((run.id for run in self.journal().runs.values() if run.is_flow), None)

    def tasks_completed(self) -> int:
        """Return how many task runs have completed, by the journal."""
        return sum(
            not run.is_flow and run.state is not None and run.state.type == "COMPLETED"
            for run in self.journal().runs.values()
        )
