"""What is told to the process of one attempt: which run, which code, and how its process is to be set up.

A worker gets a :class:`Claim` for each attempt, works out its :class:`Job`, and writes both as an
:class:`Order` into the journal's folder; supervisor and run process read it there.
"""

from __future__ import annotations

from typing import Any

import msgspec

Json = dict[str, Any]


class PlannedRun(msgspec.Struct, omit_defaults=True):
    """A flow run that the server made and that somebody else carries out."""

    id: str
    name: str
    flow_name: str
    parameters: Json = {}
    tags: list[str] = []
    job_variables: Json = {}
    parent_flow_run_id: str | None = None
    parent_task_run_id: str | None = None
    expected_start_time: str | None = None
    """ISO 8601."""
    begun: int = 0
    """How often user code was begun in earlier attempts."""
    tries_used: int = 0
    """How many retries earlier attempts used: the budget is one for failures and crashes."""
    answered: dict[str, Any] = {}
    """``{pause key: the input that was given}`` of the pauses that are over; ``None`` where none was asked for."""


class DeploymentCode(msgspec.Struct, omit_defaults=True):
    """A deployment, as far as its runs need it."""

    id: str
    name: str
    version: str | None = None
    entrypoint: str | None = None
    """``path/to/file.py:function`` or ``package.module:function``."""
    path: str | None = None
    """The folder that holds the code; ``None``: the pull steps make one, or the working folder is it."""
    pull_steps: list[Json] | None = None
    job_variables: Json = {}
    parameters: Json = {}


class Claim(msgspec.Struct, omit_defaults=True):
    """One attempt of one run, given to one worker."""

    journal: str
    """The id of the journal in which the attempt is to be written; it is the attempt's token."""
    attempt: int
    run: PlannedRun
    deployment: DeploymentCode | None = None
    queue: str | None = None
    """The name of the work queue it came from."""


class Claims(msgspec.Struct, omit_defaults=True):
    """The answer to a worker that asked for work."""

    claims: list[Claim] = []
    template: Json = {}
    """The pool's ``base_job_template``."""
    paused: bool = False
    """Whether the pool is paused."""


class Job(msgspec.Struct, omit_defaults=True):
    """How the process of a run is set up: a pool's template, filled in with a deployment's and a run's variables."""

    env: dict[str, str | None] = {}
    """Environment variables beside those of the worker; ``None`` unsets one."""
    working_dir: str | None = None
    command: str | None = None
    """A command line that ends in running ``headrace flow-run execute``; ``None``: the worker's own way."""
    memory_limit: int | None = None
    """Bytes that the process and all that it starts may take."""
    timeout: float | None = None
    """Seconds that the process may take from its start."""
    grace_seconds: float | None = None
    """Seconds to end in after being told to; ``None``: the setting ``grace_seconds``."""
    start: str = "warm"
    """``warm``: a fork of a process that has Headrace and ``preload`` loaded; ``fresh``: a new interpreter."""
    python: str | None = None
    """The interpreter of a fresh start, in an environment that has Headrace; ``None``: the worker's."""
    preload: list[str] = []
    """Modules that the worker's template process has imported already."""
    stream_output: bool = True
    """Whether what the run prints and logs is shown by its worker, too."""
    name: str | None = None
    """What is started is called so, where such things have names; a process has none."""
    labels: dict[str, str] = {}
    """Labels of what is started, where such things have labels; a process has none."""


class Order(msgspec.Struct, omit_defaults=True):
    """A claim with its job: ``run.json`` in the journal's folder."""

    claim: Claim
    job: Job
    worker: str
    """The worker's name."""
    refusal: str | None = None
    """Why the run cannot be started at all: its job makes no sense. The supervisor reports it as Failed."""


class Started(msgspec.Struct, omit_defaults=True):
    """What a supervisor tells its worker once the run has begun; ``error`` says why when it has not."""

    journal: str
    supervisor: int = 0
    run: int = 0
    error: str = ""
    later: bool = False
    """Whether what stood in the way may pass: a full disk. Then nothing was begun, and it may be tried again."""


FILE = "run.json"
"""Where an order lies in a journal's folder."""

decode_order = msgspec.json.Decoder(Order).decode
encode_order = msgspec.json.Encoder(enc_hook=str).encode
decode_claims = msgspec.json.Decoder(Claims).decode
encode_started = msgspec.json.Encoder().encode
decode_started = msgspec.json.Decoder(Started).decode
