"""A home folder that several hosts or containers share: nobody judges a run that it cannot see."""

from __future__ import annotations

import os
import time
from pathlib import Path

from headrace.journal.spool import Spool
from headrace.model import entries
from headrace.settings import load
from headrace.supervisor.recover import left_behind


def test_a_journal_of_another_host_is_left_alone_until_it_has_long_been_silent(home: Path) -> None:
    """What another container writes is not taken up while it may live; after ten minutes of silence it is."""
    settings = load()
    folder = Spool(settings.home_path).create("01900000-0000-7000-8000-000000000001")
    header = entries.Open(folder.id, 1, (0, 0), pid=1, started=1, boot="another", host="another-host")
    folder.journal.write_bytes(entries.encode(header) + b"\n")
    folder.adopt()

    assert left_behind(settings) == []

    long_ago = time.time() - 3600
    os.utime(folder.journal, (long_ago, long_ago))
    ((found, lock),) = left_behind(settings)
    lock.release()

    assert found.id == folder.id
