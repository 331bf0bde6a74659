"""Journals for people: one line a record, and a summary of each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

import msgspec

from headrace.journal.reader import split, whole
from headrace.journal.spool import Folder, is_alive, is_supervised, owner_of
from headrace.model import entries
from headrace.model.clock import iso
from headrace.model.sizes import size_text
from headrace.model.states import DEFAULT_NAME

from .output import local_time, printable

_PEEK_BYTES = 64 * 1024
"""How much of each end of a journal is read for its summary: a list of journals must not read gigabytes."""

_YOUNG_S = 10.0
"""Seconds in which a journal's own supervisor may still be on its way."""

LIVING = "running"
LEFT_BEHIND = "left behind"
SHIPPING = "being shipped"
SHIPPED = "shipped"


def summary(folder: Folder, shipped: bool) -> dict[str, Any]:
    """Return what a list of journals shows of one: whose it is, how it stands, which flows, how they ended.

    ``status`` is ``running`` (its process lives), ``being shipped`` (its supervisor does), ``left behind``
    (neither) or ``shipped``. ``state_type`` and ``state_name`` are those of its first flow run.
    """
    owner = owner_of(folder)
    try:
        stat = folder.journal.stat()
        found, written = stat.st_size, datetime.fromtimestamp(stat.st_mtime, timezone.utc).isoformat()
    except OSError:
        found, written = 0, None
    first, last = _ends(folder, found)
    flows = [entry for entry in first if isinstance(entry, entries.FlowRun)]
    state = _state_of(flows[0].run, [*first, *last]) if flows else None
    return {
        "id": folder.id,
        "status": SHIPPED if shipped else _status(folder, owner),
        "pid": owner.pid if owner else None,
        "host": owner.host if owner else None,
        "flows": list(dict.fromkeys(entry.flow for entry in flows if entry.parent is None)),
        "flow_run_ids": [entry.run for entry in flows if entry.parent is None],
        "state_type": state[0] if state else None,
        "state_name": state[1] if state else None,
        "bytes": found,
        "written": written,
        "path": str(folder.journal),
    }


def _status(folder: Folder, owner: entries.Open | None) -> str:
    if owner is not None and is_alive(owner):
        return LIVING
    if is_supervised(folder) or folder.awaits_supervisor(_YOUNG_S, time.time()):
        return SHIPPING
    return LEFT_BEHIND


def _ends(folder: Folder, total: int) -> tuple[list[entries.Entry], list[entries.Entry]]:
    """Return the records in the first and in the last part of a journal; the second is empty for a short one."""
    try:
        with folder.journal.open("rb") as file:
            head = file.read(_PEEK_BYTES)
            tail = b""
            if total > _PEEK_BYTES:
                file.seek(max(total - _PEEK_BYTES, _PEEK_BYTES))
                tail = file.read()
    except OSError:
        return [], []
    return _records(whole(head)), _records(tail)


def _records(data: bytes) -> list[entries.Entry]:
    return [entry for _, entry in split(data) if entry is not None]


def _state_of(run: str, records: list[entries.Entry]) -> tuple[str, str]:
    kind, name = "PENDING", "Pending"
    for entry in records:
        if isinstance(entry, (entries.State, entries.Verdict)) and entry.run == run:
            kind, name = entry.type, entry.name or DEFAULT_NAME.get(entry.type, entry.type)
    return kind, name


def as_json(offset: int, entry: entries.Entry | None) -> dict[str, Any]:
    """Return a record as JSON with its byte ``offset`` and its ``time``; a torn line has kind ``torn``."""
    if entry is None:
        return {"offset": offset, "k": "torn"}
    record: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(entry))
    return {"offset": offset, "time": iso(entry.t), **record}


def readable(lines: Iterable[tuple[int, entries.Entry | None]]) -> Iterator[str]:
    """Yield one line for each record: time, kind, and what it says, with runs by their names."""
    names: dict[str, str] = {}
    for offset, entry in lines:
        if entry is None:
            yield f"{'':<23}  torn      the line at byte {offset} cannot be read"
            continue
        if isinstance(entry, (entries.FlowRun, entries.TaskRun)):
            names[entry.run] = entry.name
        kind = str(entry.__struct_config__.tag)
        yield f"{local_time(iso(entry.t), millis=True)}  {kind:<8}  {printable(_say(entry, names))}".rstrip()


def _say(entry: entries.Entry, names: dict[str, str]) -> str:
    if isinstance(entry, entries.Open):
        return f"journal {entry.journal} of pid {entry.pid} on {entry.host}, attempt {entry.attempt}"
    if isinstance(entry, entries.FlowRun):
        return f"{entry.name} of flow {entry.flow} ({entry.run})"
    if isinstance(entry, entries.TaskRun):
        return f"{entry.name} ({entry.run})"
    if isinstance(entry, (entries.State, entries.Verdict)):
        name = entry.name or DEFAULT_NAME.get(entry.type, entry.type)
        return f"{_name(entry.run, names)} is {name}" + (f": {entry.message}" if entry.message else "")
    if isinstance(entry, entries.Log):
        return f"{_level(entry.level)} {entry.logger}: {entry.message}"
    return _say_rare(entry, names)


def _say_rare(entry: entries.Entry, names: dict[str, str]) -> str:
    if isinstance(entry, entries.Asked):
        return f"{entry.action} of {_name(entry.run, names)}" + (f" by {entry.who}" if entry.who else "")
    if isinstance(entry, entries.Missing):
        return f"{entry.records:,} records are missing here: {entry.reason}"
    if isinstance(entry, entries.Adopted):
        return f"supervised by pid {entry.pid}"
    if isinstance(entry, entries.Exit):
        how = f"signal {entry.signal}" if entry.signal is not None else f"exit code {entry.code}"
        peak = (entry.evidence or {}).get("peak_memory_bytes")
        return f"the process is gone: {how}" + (
            f", peak memory {size_text(peak)}" if isinstance(peak, int) else ""
        )
    return ""


def _name(run: str, names: dict[str, str]) -> str:
    return names.get(run, run)


def _level(level: int) -> str:
    return {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}.get(level, str(level))
