"""The journal of an attempt whose process could not be started: written by the worker, shipped like any other."""

from __future__ import annotations

from ..journal.spool import Folder, boot_id, host_name
from ..journal.writer import JournalWriter
from ..model import entries
from ..model.clock import AnchoredClock
from ..model.orders import Order
from ..model.release import __version__


def write(folder: Folder, order: Order, reason: str) -> None:
    """Write down that nothing was started, and why; the run is Crashed, and tried again while its budget lasts."""
    clock, claim = AnchoredClock(), order.claim
    now = clock.now_us()
    records: list[entries.Entry] = [
        entries.Open(
            journal=claim.journal, t=now, anchor=clock.anchor, pid=0, started=0, boot=boot_id(), host=host_name(),
            attempt=claim.attempt, kind="worker", worker=order.worker, headrace=__version__,
        ),
        entries.FlowRun(claim.run.id, now, claim.run.flow_name, claim.run.name, planned=True),
        entries.Verdict(
            claim.run.id, now, "CRASHED", "Crashed", f"Its worker could not start a process for it: {reason}",
            {"evidence": {"certainty": "certain", "host": host_name()}},
        ),
        entries.Exit(now),
    ]  # fmt: skip
    writer = JournalWriter(folder.journal)
    writer.append(b"".join(entries.encode(record) + b"\n" for record in records), keep=True)
    writer.close()
