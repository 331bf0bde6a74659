"""Row 38: a disk that is full under the journal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from headrace.model import entries
from tests import disks

from .house import House, state_of, until

FILLS = """
    import os
    import pathlib
    import sys
    from headrace import flow, get_run_logger, task

    filler = pathlib.Path(os.environ["HEADRACE_HOME"]) / "filler"

    def fill():
        with filler.open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    @task
    def step(number):
        return number

    @flow
    def goes_on():
        logger = get_run_logger()
        logger.info("before the disk is full")
        fill()
        for number in range(2000):
            logger.info("line %d, when there is no room for it", number)
        for number in range(20):
            step(number)
        print("the flow went on", flush=True)

    goes_on()
"""


@pytest.fixture
def small_disk(house: House) -> Iterator[House]:
    """The same house, its home folder on a disk of 4 MB."""
    with disks.small_disk(house.home, "4m"), contextlib.closing(house):
        yield house


def test_row_38_disk_full_under_the_journal(small_disk: House) -> None:
    """The run goes on, its state is reported though the disk is full, and what was lost is counted and told."""
    house = small_disk
    script = house.start(FILLS)
    script.until_said("the flow went on")
    assert script.wait() == 0
    if house.is_embedded:  # the database lies on the same disk: it can take the state when there is room
        (house.home / "filler").unlink()
    run = house.end_of(script, within=6.0 if house.is_embedded else 2.0)

    assert state_of(run) == ("COMPLETED", "Completed")
    assert {state_of(task) for task in house.tasks(run["id"])} == {("COMPLETED", "Completed")}
    assert len(house.tasks(run["id"])) == 20
    kept = house.logs(run["id"])
    assert "before the disk is full" in kept
    missing = [entry for _, entry in script.lines() if isinstance(entry, entries.Missing)]
    lost = sum(entry.records for entry in missing)
    assert 2000 <= lost + len(kept) <= 2010
    assert "No space left" in missing[0].reason
    folder = script.folder()
    assert folder is not None
    journal = until(lambda: house.get(f"/journals/{folder.id}"), "the journal on record")
    assert journal["missing"] == lost
    told = until(lambda: house.logs(run["id"], logger="headrace.supervisor"), "the loss told in the log")
    assert str(lost) in told[0]
    assert "No space left" in told[0]
    house.assert_never_crashed()
