"""Know which runs of a journal are open, without decoding every line of it."""

from __future__ import annotations

import re
from pathlib import Path

from ..journal.reader import read_whole, split
from ..model import entries

# Our own encoder writes the fields in the order in which the records name them; a test holds it to that.
_LINES = re.compile(
    rb'^\{"k":"(?:(flow|task)","run":"([^"]+)"'
    rb'|(?:state|verdict)","run":"([^"]+)","t":\d+,"type":"([A-Z]+)"(?:,"name":"([^"]+)")?)',
    re.MULTILINE,
)
_ENDS = {b"COMPLETED", b"FAILED", b"CRASHED", b"CANCELLED"}
_OVER = {b"NotReady", b"Suspended"}
"""Names of states after which this process has no more to do with the run."""
_ADOPTED = b'{"k":"adopted"'
_EXIT = b'{"k":"exit"'
_MISSING = re.compile(rb'^\{"k":"missing"[^\n]*', re.MULTILINE)
_LOOK_BACK = 512 * 1024
"""Bytes at the end of a journal in which the last lines of output are looked for."""


class OpenRuns:
    """The runs that have begun and not ended, fed with whole lines in order (about 0.5 µs a line)."""

    def __init__(self) -> None:
        self.flows: dict[str, bool] = {}
        """``{flow run id: True}`` of open flow runs, in the order of their making."""
        self.tasks: dict[str, bool] = {}
        self.limits: dict[str, float] = {}
        """``{flow run id: timeout in seconds}`` of open flow runs that have one."""
        self.started: dict[str, int] = {}
        """``{flow run id: when it last began to run, µs}`` of those."""
        self.missing: list[entries.Missing] = []
        """What was told to be missing from the journal."""
        self.adopted = False
        """Whether a supervisor took the journal over."""
        self.exited = False
        """Whether the journal is closed."""
        self.begun = False
        """Whether there was a flow run."""
        self.told = False
        """Whether a run has told a state."""

    def feed(self, data: bytes) -> None:
        """Take the next whole lines."""
        for match in _LINES.finditer(data):
            kind, made, told, state, name = match.groups()
            if kind == b"task":
                self.tasks[made.decode()] = True
            elif kind == b"flow":
                self._flow_made(made.decode(), data, match.start())
            else:
                self.told = True
                self._state_told(told.decode(), state, name, data, match.start())
        self.adopted = self.adopted or _ADOPTED in data
        if b'{"k":"missing"' in data:
            found = [entries.decode(line) for line in _MISSING.findall(data)]
            self.missing += [entry for entry in found if isinstance(entry, entries.Missing)]
        if _EXIT in data and re.search(rb'^\{"k":"exit"', data, re.MULTILINE):
            self.exited = True

    def ids(self) -> list[str]:
        """Return the open runs, flows first, each in the order of their making."""
        return [*self.flows, *self.tasks]

    def due(self, now: int, grace_s: float) -> str | None:
        """Return a flow run that is past its timeout and the grace time after it, if there is one."""
        for run, began in self.started.items():
            if now > began + int((self.limits[run] + grace_s) * 1_000_000):
                return run
        return None

    def _state_told(self, run: str, state: bytes, name: bytes | None, data: bytes, start: int) -> None:
        if state in _ENDS or name in _OVER:
            self._ended(run)
        elif state == b"RUNNING" and self.limits:
            self._running(run, data, start)

    def _ended(self, run: str) -> None:
        self.tasks.pop(run, None)
        self.flows.pop(run, None)
        self.limits.pop(run, None)
        self.started.pop(run, None)

    def _flow_made(self, run: str, data: bytes, start: int) -> None:
        self.begun = True
        self.flows[run] = True
        line = data[start : data.find(b"\n", start)]
        if b'"timeout":' in line:
            entry = entries.decode(line)
            if isinstance(entry, entries.FlowRun) and entry.timeout:
                self.limits[run] = entry.timeout

    def _running(self, run: str, data: bytes, start: int) -> None:
        if run in self.limits:
            entry = entries.decode(data[start : data.find(b"\n", start)])
            if isinstance(entry, entries.State):
                self.started[run] = entry.t


def last_output(path: Path, lines: int = 20) -> list[str]:
    """Return the last lines of a journal's logs, oldest first."""
    size = path.stat().st_size
    start = max(0, size - _LOOK_BACK)
    data = read_whole(path, start, _LOOK_BACK + 1)
    if start:
        data = data[data.find(b"\n") + 1 :]
    found = [entry.message for _, entry in split(data) if isinstance(entry, entries.Log)]
    told = [line for message in found[-lines:] for line in message.splitlines()][-lines:]
    return [line if len(line) <= 500 else line[:500] + "..." for line in told]


_FACT_TIME = re.compile(rb'^\{"k":"(?:state|task|flow|log)".*?"t":(\d+)', re.MULTILINE)


def last_fact(path: Path) -> int | None:
    """Return the time of the last record that a process itself wrote, as far as the journal's end shows one."""
    size = path.stat().st_size
    times = _FACT_TIME.findall(read_whole(path, max(0, size - _LOOK_BACK), _LOOK_BACK))
    return int(times[-1]) if times else None


def names_of(path: Path, runs: list[str], limit: int = 20) -> list[str]:
    """Return the names of some open task runs, for people."""
    wanted = {f'"run":"{run}"'.encode() for run in runs[:limit]}
    names: list[str] = []
    with path.open("rb") as file:
        for line in file:
            if line.startswith(b'{"k":"task"') and line[11:].split(b",", 2)[1] in wanted:
                entry = entries.decode(line.rstrip(b"\n"))
                if isinstance(entry, entries.TaskRun):
                    names.append(entry.name)
    return names


def last_root(path: Path) -> str | None:
    """Return the id of the last flow run that no other one called, or ``None``."""
    found: str | None = None
    with path.open("rb") as file:
        for line in file:
            if line.startswith(b'{"k":"flow"') and b'"parent":' not in line:
                entry = entries.decode(line.rstrip(b"\n"))
                if isinstance(entry, entries.FlowRun):
                    found = entry.run
    return found
