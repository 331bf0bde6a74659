"""The client against a real server, over a real socket."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from headrace.client import calls
from headrace.client.connection import Connection
from headrace.client.journals import HttpJournals
from headrace.errors import ObjectNotFound, OffsetMismatch, ServerUnavailable
from headrace.model import entries
from headrace.model.entries import encode
from headrace.model.ids import IdFactory
from headrace.server import process
from headrace.settings import Settings, load

T = 1_790_000_000_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a home with a server, which serves every test of this file."""
    home = tmp_path_factory.mktemp("server") / "home"
    environ = {**os.environ, "HEADRACE_HOME": str(home), "HEADRACE_SERVER_PORT": "0"}
    subprocess.run(
        [sys.executable, "-m", "headrace", "server", "start", "-b"], env=environ, timeout=60, check=True
    )
    settings = load({"HEADRACE_HOME": str(home)})
    yield settings
    process.stop(settings)


@pytest.fixture
def url(server: Settings) -> str:
    """Where the server is."""
    address = process.read_address(server.home_path)
    assert address is not None
    return str(address["url"])


@pytest.fixture
def journals(server: Settings, url: str) -> Iterator[HttpJournals]:
    """A port to the server."""
    port = HttpJournals(server, url)
    yield port
    port.close()


class Journal:
    """A run with many log lines, as bytes."""

    def __init__(self, lines: int = 0) -> None:
        ids = IdFactory()
        self.id, self.run = ids.new(T), ids.new(T)
        records: list[entries.Entry] = [
            entries.Open(self.id, T, (T * 1000, 0), 1, 1, "boot", "host"),
            entries.FlowRun(self.run, T, "etl", "brave-otter"),
            entries.State(self.run, T, "RUNNING"),
            *(entries.Log(T + n, 20, "x", f"line {n}", self.run) for n in range(lines)),
        ]
        self.data = b"".join(encode(record) + b"\n" for record in records)


def test_bytes_arrive_once_whatever_is_sent_twice(journals: HttpJournals, server: Settings, url: str) -> None:
    """Compressed when large; a gap is told with the place to go on from."""
    journal = Journal(lines=1000)
    half = journal.data.index(b"\n", len(journal.data) // 2) + 1

    assert journals.offset(journal.id) == 0
    assert journals.append(journal.id, 0, journal.data[:half]) == half
    with pytest.raises(OffsetMismatch) as caught:
        journals.append(journal.id, half + 10, b"x\n")
    assert caught.value.expected == half
    assert journals.append(journal.id, 0, journal.data) == len(journal.data)
    assert journals.offset(journal.id) == len(journal.data)

    with Connection(server, url) as connection:
        found = list(calls.logs(connection, {"flow_run_id": {"any_": [journal.run]}}))
        run = calls.flow_run(connection, journal.run)
    assert [line["message"] for line in found] == [f"line {n}" for n in range(1000)]
    assert (run["flow_name"], run["state_type"]) == ("etl", "RUNNING")


def test_a_command_wakes_who_waits_for_it(journals: HttpJournals, server: Settings, url: str) -> None:
    """Long before the wait is over; who asked comes along."""
    journal = Journal()
    journals.append(journal.id, 0, journal.data)
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.extend(journals.commands(journal.id, after=0, wait=25)))
    begun = time.monotonic()
    waiting.start()
    with Connection(server, url) as connection:
        state = {"type": "CANCELLING", "name": "Cancelling"}
        answer = calls.set_flow_run_state(connection, journal.run, state, who="ada")
    waiting.join(20)

    assert answer["status"] == "ACCEPT"
    (command,) = got
    assert (command.action, command.flow_run_id) == ("cancel", journal.run)  # type: ignore[attr-defined]
    assert "ada" in command.who  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 10


def test_no_command_is_an_empty_list_when_the_wait_is_over(journals: HttpJournals) -> None:
    """Which is an answer, not a fault."""
    journal = Journal()
    journals.append(journal.id, 0, journal.data)

    assert journals.commands(journal.id, after=0, wait=0.1) == []


def test_a_missing_run_is_not_found(server: Settings, url: str) -> None:
    """404 with its own class."""
    with Connection(server, url) as connection, pytest.raises(ObjectNotFound):
        calls.flow_run(connection, Journal().run)


def test_a_server_that_has_gone_is_unavailable(server: Settings, url: str, journals: HttpJournals) -> None:
    """Another port of the machine, where nobody listens; the journal stays to be shipped later."""
    port = HttpJournals(server, "http://127.0.0.1:9/api")
    with pytest.raises(ServerUnavailable):
        port.append(Journal().id, 0, b"x\n")
    port.close()
