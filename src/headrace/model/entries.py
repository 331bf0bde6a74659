"""What a journal holds: one record a line, each a fact with its time.

A line is compact JSON with its kind under ``k``. Times (``t``) are microseconds since 1970, UTC.
Unknown kinds and fields are passed over by readers, so an older server can take a newer journal.
"""

from __future__ import annotations

from typing import Any

import msgspec

FORMAT = 1
"""The journal's format; written in its first record."""

Json = dict[str, Any]


class Open(msgspec.Struct, tag="open", tag_field="k", omit_defaults=True):
    """The first record: whose journal this is."""

    journal: str
    t: int
    anchor: tuple[int, int]
    """``(wall_ns, steady_ns)`` of the clock, so that helpers of the process tell the same time."""
    pid: int
    started: int
    """The process's start time as the kernel counts it: with the pid it names one process for ever."""
    boot: str
    """The boot of the host in which ``pid`` and ``started`` mean something."""
    host: str
    v: int = msgspec.field(default_factory=lambda: FORMAT)  # by a factory: it is written, default or not
    attempt: int = 1
    token: str | None = None
    kind: str = "script"
    """``script``, ``worker`` or ``container``: who stands over the process."""
    user: str | None = None
    python: str | None = None
    headrace: str | None = None
    argv: list[str] | None = None
    cwd: str | None = None
    worker: str | None = None
    """The name of the worker that started the process."""
    oom_kills: int | None = None
    """How often the OOM killer had acted in the process's control group, where the kernel tells."""


class FlowRun(msgspec.Struct, tag="flow", tag_field="k", omit_defaults=True):
    """A flow run exists; it is Pending from this moment."""

    run: str
    t: int
    flow: str
    """The flow's name."""
    name: str
    """The run's name."""
    parent: str | None = None
    """The flow run that called this one."""
    placeholder: str | None = None
    """The id of the task run that stands for this flow run in its parent."""
    dynamic_key: str | None = None
    """Which call of this flow within the parent, counted from 0."""
    version: str | None = None
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    """A JSON object; what JSON cannot hold is its ``repr``."""
    tags: list[str] | None = None
    retries: int = 0
    retry_delay: Any = None
    """Seconds, or a list of seconds."""
    timeout: float | None = None
    """Seconds, or ``None``."""
    inputs: Json | None = None
    labels: Json | None = None
    planned: bool = False
    """Whether the server made the run and this process carries it out: it is Pending already."""
    retry_on: list[str] | None = None
    """What is tried again: ``failed``, ``crashed``, ``lost``; ``None``: failures and crashes."""


class TaskRun(msgspec.Struct, tag="task", tag_field="k", omit_defaults=True):
    """A task run exists; it is Pending from this moment."""

    run: str
    t: int
    key: str
    """The task's key: stable over runs of the same code."""
    name: str
    """The run's name."""
    dynamic_key: str
    flow_run: str | None = None
    tags: list[str] | None = None
    version: str | None = None
    retries: int = 0
    retry_delay: Any = None
    inputs: Json | None = None
    """The contract's ``task_inputs``: ``{parameter: [{input_type, id, ...}]}``."""
    pid: int | None = None
    """The process that carries the task out, when it is not the journal's own."""


class State(msgspec.Struct, tag="state", tag_field="k", omit_defaults=True):
    """A run changed its state, by its own account."""

    run: str
    t: int
    type: str
    name: str | None = None
    """``None``: the type's own name (``Completed``)."""
    message: str | None = None
    details: Json | None = None
    """Fields of the contract's ``state_details``; ours is ``evidence``."""
    pid: int | None = None


class Log(msgspec.Struct, tag="log", tag_field="k", omit_defaults=True):
    """A line of a run's log."""

    t: int
    level: int
    """As in ``logging``: 10 debug, 20 info, 30 warning, 40 error, 50 critical."""
    logger: str
    message: str
    flow_run: str | None = None
    task_run: str | None = None


class Verdict(msgspec.Struct, tag="verdict", tag_field="k", omit_defaults=True):
    """The supervisor saw the process end while this run was open."""

    run: str
    t: int
    type: str
    name: str
    message: str
    details: Json | None = None


class Input(msgspec.Struct, tag="input", tag_field="k", omit_defaults=True):
    """Something that a flow run keeps at the server under a key: the schema of what it waits for."""

    run: str
    t: int
    key: str
    """The name under which the server keeps it."""
    value: str
    """JSON text."""


class Asked(msgspec.Struct, tag="asked", tag_field="k", omit_defaults=True):
    """The supervisor passed a request on to the process."""

    t: int
    run: str
    action: str
    """``cancel``, ``suspend`` or ``resume``"""
    who: str | None = None
    asked: int | None = None
    """When it was asked; ``t`` is when it reached this host."""


class Missing(msgspec.Struct, tag="missing", tag_field="k", omit_defaults=True):
    """Records that were made and could not be written or kept, counted."""

    t: int
    records: int
    reason: str
    logs: int = 0
    states: int = 0


class Adopted(msgspec.Struct, tag="adopted", tag_field="k", omit_defaults=True):
    """A supervisor took this journal over; the first one writes it too."""

    t: int
    pid: int


class Exit(msgspec.Struct, tag="exit", tag_field="k", omit_defaults=True):
    """The process is gone; the last record of a journal."""

    t: int
    code: int | None = None
    signal: int | None = None
    evidence: Json | None = None


Entry = Open | FlowRun | TaskRun | State | Log | Verdict | Input | Asked | Missing | Adopted | Exit

encode = msgspec.json.Encoder(enc_hook=repr).encode
"""Encode a record without its line end; a value that JSON cannot hold becomes its ``repr``."""

_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def decode(line: bytes | memoryview) -> Entry | None:
    """Decode one line (without its end); ``None`` when it is torn, not ours, or of an unknown kind."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the last: nested a thousand deep
        return None
