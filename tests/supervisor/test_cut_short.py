"""A journal whose first records a power cut took is still the journal of a run."""

from __future__ import annotations

from pathlib import Path

from headrace.embedded import EmbeddedJournals
from headrace.journal.reader import iterate
from headrace.journal.spool import Spool, boot_id, host_name
from headrace.model import entries
from headrace.model.ids import IdFactory
from headrace.model.orders import Claim, Job, Order, PlannedRun
from headrace.settings import load
from headrace.supervisor.recover import recover

NOW = 1_790_000_000_000_000


def test_a_run_whose_making_was_cut_off_gets_its_verdict(home: Path) -> None:
    """Only the header is whole: who takes the journal up judges the run that the worker had ordered."""
    new_id = IdFactory().new
    settings, spool = load(), Spool(home)
    order = Order(Claim(new_id(NOW), 1, PlannedRun(new_id(NOW), "name", "flow")), Job(), "worker")
    folder = spool.create(order.claim.journal)
    folder.write_order(order)
    folder.adopt()
    header = entries.Open(
        journal=folder.id,
        t=NOW,
        anchor=(NOW * 1000, 0),
        pid=0,
        started=0,
        boot=boot_id(),
        host=host_name(),
        kind="worker",
    )
    folder.journal.write_bytes(entries.encode(header) + b'\n{"k":"flow","run":"')
    port = EmbeddedJournals(settings)

    assert recover(settings, port, 10.0) == 1

    port.close()
    [shipped] = spool.shipped_folders()
    told = [
        entry for _, entry in iterate(shipped.journal) if isinstance(entry, (entries.Verdict, entries.Exit))
    ]
    assert isinstance(told[0], entries.Verdict)
    assert (told[0].run, told[0].type, told[0].name) == (order.claim.run.id, "CRASHED", "Lost")
    assert isinstance(told[-1], entries.Exit)
