"""Where there is no room to tell of a run, nothing of it is begun."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.journal.spool import Folder, Spool, owner_of
from headrace.model.orders import Claim, Job, Order, PlannedRun
from headrace.settings import load
from headrace.worker.launcher import NotNow
from headrace.worker.launchers.process import ProcessLauncher
from tests.disks import small_disk
from tests.verdicts.house import until


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        yield disk


@pytest.fixture
def launcher(disk: Path) -> Iterator[ProcessLauncher]:
    """A launcher whose home folder is on it."""
    made = ProcessLauncher(load({"HEADRACE_HOME": str(disk), "HEADRACE_SHIP_PATIENCE": "0"}))
    yield made
    made.close()


def fill(disk: Path) -> Path:
    """Leave no byte free; return what takes the room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def test_a_disk_that_is_full_once_the_folder_is_made(
    disk: Path, launcher: ProcessLauncher, tmp_path: Path
) -> None:
    """Another run took what room there was in that moment: this one waits, and is begun when there is some."""
    done = tmp_path / "done"

    def prepared() -> tuple[Order, Folder]:
        run = PlannedRun(str(uuid.uuid4()), "quick-otter", "main")
        order = Order(Claim(str(uuid.uuid4()), 1, run), Job(command=f"touch {done}"), "w1")
        folder = Spool(disk).create(order.claim.journal)
        folder.write_order(order)
        folder.keep_room()
        return order, folder

    first = prepared()
    filler = fill(disk)
    with pytest.raises(NotNow, match="No space left"):
        launcher.start(*first)
    assert owner_of(first[1]) is None, "nobody is told of what was not begun"
    assert not done.exists()

    filler.unlink()
    launcher.start(*prepared())
    until(done.exists, "the run to be carried out")
