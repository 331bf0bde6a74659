"""A worker and the processes of its runs, played by a test: claims over HTTP, journals as processes write them."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from headrace.client.connection import Connection
from headrace.client.journals import HttpJournals
from headrace.client.port import Command
from headrace.model import entries
from headrace.model.entries import encode
from headrace.model.ids import IdFactory
from headrace.settings import load

_ids = IdFactory()


class Attempt:
    """A run that a worker was given, and the journal of its process."""

    def __init__(self, connection: Connection, claim: dict[str, Any], worker: str) -> None:
        self.claim = claim
        self.run: str = claim["run"]["id"]
        self._journals = HttpJournals(load(), connection.url, connection=connection)
        self._offset = 0
        now = _now_us()
        opened = entries.Open(
            claim["journal"],
            now,
            (now * 1000, 0),
            os.getpid(),
            1,
            "a boot",
            socket.gethostname(),
            attempt=claim["attempt"],
            kind="worker",
            worker=worker,
        )
        run = claim["run"]
        self._write(opened, entries.FlowRun(self.run, now, run["flow_name"], run["name"], planned=True))

    def becomes(self, type: str, name: str | None = None, **fields: Any) -> None:
        """The process writes a state of its run."""
        self._write(entries.State(self.run, _now_us(), type, name, **fields))

    def says(self, message: str) -> None:
        """The process writes a line in its log."""
        self._write(entries.Log(_now_us(), 20, "headrace.flow_runs", message, self.run))

    def ends(self, type: str = "COMPLETED", **fields: Any) -> None:
        """The run's last state is written, and its process ends."""
        self.becomes(type, **fields)
        self._write(entries.Exit(_now_us(), code=0))

    def is_killed(self) -> None:
        """The process is killed, and its supervisor says so."""
        killed = entries.Verdict(self.run, _now_us(), "CRASHED", "Crashed", "Killed by SIGKILL.")
        self._write(killed, entries.Exit(_now_us(), signal=9))

    def commands(self) -> list[Command]:
        """Return what the server asks of the process."""
        return self._journals.commands(self.claim["journal"], after=0, wait=0)

    def _write(self, *records: entries.Entry) -> None:
        data = b"".join(encode(record) + b"\n" for record in records)
        self._offset = self._journals.append(self.claim["journal"], self._offset, data)


class Worker:
    """A worker of a pool."""

    def __init__(self, connection: Connection, pool: str) -> None:
        self.id, self.name = _ids.new(_now_us()), "ada"
        self._connection, self._pool = connection, pool
        self._have: list[str] = []

    def claims(self, limit: int = 10, wait: float = 0.0) -> list[Attempt]:
        """Ask for runs; return those that it was given."""
        body = {
            "worker_id": self.id,
            "worker_name": self.name,
            "limit": limit,
            "wait": wait,
            "have": self._have,
        }
        given = self._connection.post(f"/work_pools/{self._pool}/claim", body).get("claims", [])
        self._have += [claim["journal"] for claim in given]
        return [Attempt(self._connection, claim, self.name) for claim in given]


def _now_us() -> int:
    return time.time_ns() // 1000
