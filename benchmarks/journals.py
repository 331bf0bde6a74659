"""Journals as a run process writes them, made in bulk and sent as supervisors send them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from headrace.client.journals import HttpJournals
from headrace.model import entries
from headrace.model.ids import IdFactory
from headrace.settings import Settings

PIECE = 1 << 20
"""Bytes sent at once, as the supervisor does under load."""


class Journal(NamedTuple):
    """A whole journal."""

    id: str
    data: bytes


def of_tasks(tasks: int) -> Journal:
    """Return the journal of a flow with so many tasks, each Pending, Running and Completed."""

    def middle(flow_run: str, new_id: Callable[[int], str], t: int) -> Iterable[entries.Entry]:
        for number in range(tasks):
            run, at = new_id(t), t + 40 * number
            yield entries.TaskRun(run, at, "add-1f2e3d4c", f"add-{number}", str(number), flow_run)
            yield entries.State(run, at + 9, "RUNNING")
            yield entries.State(run, at + 31, "COMPLETED")

    return _journal(middle)


def of_logs(lines: int) -> Journal:
    """Return the journal of a flow that logs so many lines of some 80 characters."""

    def middle(flow_run: str, new_id: Callable[[int], str], t: int) -> Iterable[entries.Entry]:  # noqa: ARG001
        for number in range(lines):
            text = f"Row {number} of part-{number % 97:04}.parquet read: {number * 7919 % 100_003} bytes, checksum fits"
            yield entries.Log(t + 20 * number, 20, "headrace.flow_runs", text, flow_run)

    return _journal(middle)


def _journal(
    middle: Callable[[str, Callable[[int], str], int], Iterable[entries.Entry]],
) -> Journal:
    ids, t = IdFactory(), time.time_ns() // 1000
    journal, flow_run = ids.new(t), ids.new(t)
    opened = entries.Open(
        journal, t, (time.time_ns(), time.monotonic_ns()), os.getpid(), 1, "boot", socket.gethostname()
    )
    flow = entries.FlowRun(flow_run, t, "measured", "swift-otter")
    records = [
        opened,
        flow,
        entries.State(flow_run, t + 5, "RUNNING"),
        *middle(flow_run, ids.new, t + 10),
        entries.State(flow_run, t + 60_000_000, "COMPLETED"),
        entries.Exit(t + 60_000_100, 0),
    ]
    return Journal(journal, b"".join(entries.encode(record) + b"\n" for record in records))


def send(settings: Settings, api: str, journals: Sequence[Journal], *, at_once: int | None = None) -> float:
    """Send journals, all of them or so many side by side, each by a supervisor's client; return the seconds it took.

    Raises:
        RuntimeError: the server did not take one whole.
    """
    begin = time.perf_counter()
    with ThreadPoolExecutor(at_once or len(journals)) as threads:
        sent = [threads.submit(_send_one, settings, api, journal) for journal in journals]
    seconds = time.perf_counter() - begin
    for one in sent:
        error = one.exception()
        if error is not None:
            raise RuntimeError("A journal was not taken in.") from error
    return seconds


def _send_one(settings: Settings, api: str, journal: Journal) -> None:
    port = HttpJournals(settings, api)
    try:
        held = 0
        while held < len(journal.data):
            piece = journal.data[held : held + PIECE]
            piece = piece[: piece.rindex(b"\n") + 1]
            held = port.append(journal.id, held, piece)
        if port.offset(journal.id) != len(journal.data):
            raise RuntimeError(f"The server holds another length of journal {journal.id} than was sent.")
    finally:
        port.close()
