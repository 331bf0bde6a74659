"""What of a journal's bytes can be taken: lines are made sound one by one, before the database is asked.

A line that cannot be stored or cannot be true by itself becomes ``None``, like one that cannot be read; what
is merely too large is cut, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from headrace.errors import JournalError
from headrace.journal.reader import split, whole
from headrace.model import entries
from headrace.model.states import StateType

LATEST_US = 253_402_300_799_000_000
"""The last second of the year 9999: what a date can hold."""

NAME_LIMIT = 500
"""Characters of names and keys; PostgreSQL's indexes take no more than some 2,700 bytes."""

STATE_NAME_LIMIT = 200
"""Characters of a state's name."""

MESSAGE_LIMIT = 200_000
"""Characters of a state's or log line's message."""

JSON_LIMIT = 1_000_000
"""Bytes of a state's details, a run's parameters, its inputs or its labels, each."""

DEPTH_LIMIT = 64
"""How deep such JSON may be nested."""

INT32 = 2**31 - 1

_TYPES = frozenset(type.value for type in StateType)
_is_id = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
# An escaped NUL, which PostgreSQL cannot store, unless its backslash is escaped itself. What replaces it is
# as long, so that offsets stay true.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


class Batch(NamedTuple):
    """Bytes on their way in."""

    journal: str
    offset: int
    end: int
    """Where the last whole line ends."""
    lines: list[tuple[int, entries.Entry | None]]
    """``(byte offset, record)``; ``None`` for a line that cannot be taken."""


def read(journal: str, offset: int, data: bytes) -> Batch:
    """Decode the whole lines of ``data``, which begins at byte ``offset`` of a journal.

    Raises:
        JournalError: ``journal`` is no id, the offset is negative, or the bytes are another journal's.
    """
    if not _is_id(journal):
        raise JournalError(f"{journal[:100]!r} is not a journal's id. An id is a UUID in lower-case text.")
    if offset < 0:
        raise JournalError(f"The offset {offset} is negative. Offsets count from byte 0 of the journal.")
    data = whole(data)
    if rb"\u0000" in data:
        data = _NUL.sub(rb"\1\\ufffd", data)
    lines = [
        (at, entry if entry is not None and _make_sound(entry) else None) for at, entry in split(data, offset)
    ]
    if offset == 0 and lines:
        _check_header(journal, lines[0][1])
    return Batch(journal, offset, offset + len(data), lines)


def _check_header(journal: str, first: entries.Entry | None) -> None:
    if isinstance(first, entries.Open) and first.journal != journal:
        raise JournalError(
            f"The bytes sent as journal {journal} are those of journal {first.journal[:100]}. "
            "Send each journal under its own id."
        )


def _make_sound(entry: entries.Entry) -> bool:
    """Cut what is too large; return whether the record can be stored."""
    return 0 <= entry.t <= LATEST_US and _SOUND[type(entry)](entry)


def _is_id_or_none(text: str | None) -> bool:
    return text is None or _is_id(text) is not None


def _state(entry: entries.State | entries.Verdict) -> bool:
    if entry.type not in _TYPES or not _is_id(entry.run):
        return False
    if entry.name is not None and len(entry.name) > STATE_NAME_LIMIT:
        entry.name = entry.name[:STATE_NAME_LIMIT]
    if entry.message is not None:
        entry.message = _cut(entry.message)
    if entry.details is not None:
        entry.details = bounded(entry.details)
    return True


def _flow_run(entry: entries.FlowRun) -> bool:
    if not (_is_id(entry.run) and _is_id_or_none(entry.parent) and _is_id_or_none(entry.placeholder)):
        return False
    if entry.placeholder == entry.run:
        entry.placeholder = None
    entry.flow = entry.flow[:NAME_LIMIT]
    entry.name = entry.name[:NAME_LIMIT]
    entry.parameters = _parameters(entry.parameters)
    entry.inputs = entry.inputs and bounded(entry.inputs)
    entry.labels = entry.labels and bounded(entry.labels)
    return _policy_is_fine(entry)


def _task_run(entry: entries.TaskRun) -> bool:
    if not (_is_id(entry.run) and _is_id_or_none(entry.flow_run)):
        return False
    if len(entry.key) > NAME_LIMIT or len(entry.name) > NAME_LIMIT or len(entry.dynamic_key) > NAME_LIMIT:
        entry.key, entry.name = entry.key[:NAME_LIMIT], entry.name[:NAME_LIMIT]
        entry.dynamic_key = entry.dynamic_key[:NAME_LIMIT]
    if entry.inputs:
        entry.inputs = bounded(entry.inputs)
    return _policy_is_fine(entry)


def _log(entry: entries.Log) -> bool:
    if not _is_id_or_none(entry.flow_run) or not _is_id_or_none(entry.task_run):
        return False
    entry.message = _cut(entry.message)
    if len(entry.logger) > NAME_LIMIT:
        entry.logger = entry.logger[:NAME_LIMIT]
    if not 0 <= entry.level <= INT32:
        entry.level = 0
    return True


def _open(entry: entries.Open) -> bool:
    if not 1 <= entry.attempt <= INT32 or not 0 <= entry.pid <= LATEST_US:
        return False
    entry.host = entry.host[:NAME_LIMIT]
    entry.token = None  # a secret between the worker and the server that gave it
    return _size(msgspec.to_builtins(entry)) is not None


def _input(entry: entries.Input) -> bool:
    fits = 0 < len(entry.key) <= NAME_LIMIT and len(entry.value) <= JSON_LIMIT
    return fits and _is_id(entry.run) is not None


def _missing(entry: entries.Missing) -> bool:
    entry.records = min(max(entry.records, 0), INT32)
    return True


def _asked(entry: entries.Asked) -> bool:
    return _is_id(entry.run) is not None


def _any(_entry: Any) -> bool:
    return True


_SOUND: dict[type, Callable[[Any], bool]] = {
    entries.State: _state,
    entries.Verdict: _state,
    entries.TaskRun: _task_run,
    entries.FlowRun: _flow_run,
    entries.Log: _log,
    entries.Open: _open,
    entries.Input: _input,
    entries.Missing: _missing,
    entries.Asked: _asked,
    entries.Adopted: _any,
    entries.Exit: _any,
}


def _cut(message: str) -> str:
    if len(message) <= MESSAGE_LIMIT:
        return message
    return f"{message[:MESSAGE_LIMIT]}… ({len(message)} characters in all)"


def bounded(value: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object as it is, or a note in its place when it is too large or too deep to keep."""
    if _size(value) is not None:
        return value
    return {"omitted": "JSON that is too large or too deeply nested to keep"}


def _parameters(raw: msgspec.Raw) -> msgspec.Raw:
    try:
        if _size(msgspec.json.decode(raw, type=dict[str, Any])) is not None:
            return raw
    except (msgspec.DecodeError, RecursionError):
        pass
    return msgspec.Raw(b'{"omitted":"JSON that is not an object, or too large or too deeply nested to keep"}')


def _policy_is_fine(entry: entries.FlowRun | entries.TaskRun) -> bool:
    if not 0 <= entry.retries <= INT32:
        entry.retries = 0
    return entry.retry_delay is None or _size(entry.retry_delay) is not None


def _size(value: Any) -> int | None:
    """Return how many bytes a JSON value takes, ``None`` when it is too large or too deep to be kept."""
    try:
        encoded = msgspec.json.encode(value)
    except RecursionError:
        return None
    if len(encoded) > JSON_LIMIT:
        return None
    # Few brackets cannot be nested deep; only what has many is looked at closely.
    if encoded.count(b"{") + encoded.count(b"[") > DEPTH_LIMIT and _is_deep(value):
        return None
    return len(encoded)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner
            for holder in level
            for inner in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True
