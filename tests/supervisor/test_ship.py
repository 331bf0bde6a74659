"""How a journal that nobody else can have shipped is shipped."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.client.port import Command
from headrace.journal.spool import Folder
from headrace.model import entries
from headrace.supervisor.ship import Shipper
from headrace.supervisor.tail import OpenRuns

RUN = "01a20895-1cb6-7c3c-a3d8-66c0ff0e3eb1"
BEGINNING = b"".join(
    entries.encode(entry) + b"\n"
    for entry in (entries.FlowRun(RUN, 1, "f", "swift-otter", planned=True), entries.Adopted(1, 7))
)
STATE = entries.encode(entries.State(RUN, 2, "RUNNING")) + b"\n"


class Server:
    """A server that holds ``held`` bytes of a journal already."""

    def __init__(self, held: int) -> None:
        self.held = held
        self.asked = 0
        self.sent: list[tuple[int, bytes]] = []

    def offset(self, journal: str) -> int:  # it has one journal
        """Count how often somebody asks."""
        self.asked += 1
        return self.held

    def append(self, journal: str, offset: int, data: bytes) -> int:
        """Take what is not held."""
        self.sent.append((offset, data))
        self.held = max(self.held, offset + len(data))
        return self.held

    def commands(self, journal: str, *, after: int, wait: float) -> list[Command]:
        """Ask nothing."""
        return []

    def close(self) -> None:
        """Have nothing to give back."""


def refuse(line: str) -> None:
    """Fail where a shipper has something to complain of."""
    pytest.fail(line)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; ten seconds at most."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def ship(folder: Folder, server: Server, *, is_first: bool) -> None:
    """Ship a journal as it is, and end."""
    shipper = Shipper(folder, server, OpenRuns(), refuse)
    shipper.catch_up()
    shipper.is_first = is_first
    shipper.start()
    try:
        wait_for(shipper.is_done)
    finally:
        shipper.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder whose journal has begun."""
    (tmp_path / "journal.jsonl").write_bytes(BEGINNING)
    return Folder(tmp_path)


def test_nobody_is_asked_how_much_of_a_new_journal_is_held(folder: Folder) -> None:
    """It can only be nothing: a request less for every run."""
    server = Server(held=0)
    ship(folder, server, is_first=True)

    assert (server.asked, server.sent) == (0, [(0, BEGINNING)])


def test_a_server_that_holds_some_of_it_after_all_is_believed(folder: Folder) -> None:
    """Nothing is sent twice from then on, and nothing left out."""
    server = Server(held=len(BEGINNING) + len(STATE))
    with folder.journal.open("ab") as file:
        file.write(STATE)
    ship(folder, server, is_first=True)

    assert server.held == len(BEGINNING) + len(STATE)


def test_of_a_journal_that_was_shipped_before_the_server_says_how_much_it_holds(folder: Folder) -> None:
    """Only the rest is sent."""
    server = Server(held=len(BEGINNING))
    with folder.journal.open("ab") as file:
        file.write(STATE)
    ship(folder, server, is_first=False)

    assert (server.asked, server.sent) == (1, [(len(BEGINNING), STATE)])


def test_a_process_that_says_nothing_does_not_keep_its_beginning_back(folder: Folder) -> None:
    """What stands in the journal is shipped when its first state takes its time, and the state when it comes."""
    server = Server(held=0)
    shipper = Shipper(folder, server, OpenRuns(), refuse)
    shipper.catch_up()
    shipper.is_first = True
    shipper.start()
    try:
        wait_for(lambda: server.held == len(BEGINNING))
        with folder.journal.open("ab") as file:
            file.write(STATE)
        wait_for(lambda: server.held == len(BEGINNING) + len(STATE))
    finally:
        shipper.stop()

    assert server.sent == [(0, BEGINNING), (len(BEGINNING), STATE)]
