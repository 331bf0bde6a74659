"""Runs that happened once: journals as processes left them, for commands to find."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from headrace.journal.spool import Folder, Spool
from headrace.model import entries
from headrace.model.entries import encode
from headrace.model.ids import IdFactory

_ids = IdFactory()

SECOND = 1_000_000
"""Microseconds."""


class Recorded:
    """A journal that is being made up, record by record; its process is dead when a command looks."""

    def __init__(self, home: Path, t: int) -> None:
        self.t = t
        self.id = _ids.new(t)
        self.folder: Folder = Spool(home).create(self.id)
        self.folder.adopt()  # its supervisor was there, and died with it
        self._write(
            entries.Open(self.id, t, (t * 1000, 0), 2**22 + 1, 1, "another boot", socket.gethostname())
        )

    def _write(self, *records: entries.Entry) -> None:
        with self.folder.journal.open("ab") as file:
            file.write(b"".join(encode(record) + b"\n" for record in records))

    def flow_run(
        self, flow: str, name: str, *, parameters: bytes = b"{}", tags: list[str] | None = None
    ) -> str:
        """A flow run begins; return its id."""
        run = _ids.new(self.t)
        self._write(
            entries.FlowRun(run, self.t, flow, name, parameters=msgspec.Raw(parameters), tags=tags),
            entries.State(run, self.t, "RUNNING"),
        )
        return run

    def task_run(self, flow_run: str, name: str, *, seconds: float = 1.0, failed: str | None = None) -> str:
        """A task run begins and ends; return its id."""
        run = _ids.new(self.t)
        self._write(
            entries.TaskRun(run, self.t, name.rsplit("-", 1)[0], name, name.rsplit("-", 1)[-1], flow_run),
            entries.State(run, self.t, "RUNNING"),
            entries.Log(self.t, 20, "headrace.task_runs", f"{name} says hello", flow_run, run),
        )
        self.t += int(seconds * SECOND)
        if failed is None:
            self._write(entries.State(run, self.t, "COMPLETED"))
        else:
            self._write(entries.State(run, self.t, "FAILED", message=failed))
        return run

    def log(self, flow_run: str, message: str, level: int = 20) -> None:
        """The run says something."""
        self.t += 1000
        self._write(entries.Log(self.t, level, "headrace.flow_runs", message, flow_run))

    def end(
        self, run: str, type: str, *, message: str | None = None, details: entries.Json | None = None
    ) -> None:
        """The run ends, and its process with it."""
        self.t += SECOND
        self._write(
            entries.State(run, self.t, type, message=message, details=details), entries.Exit(self.t, code=0)
        )
