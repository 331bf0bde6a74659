"""A companion without a server: the same words as over HTTP, straight into the home folder's database, or PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from headrace.client.port import JournalPort
from headrace.embedded import EmbeddedJournals
from headrace.errors import OffsetMismatch, ServerUnavailable
from headrace.server.store import journals
from headrace.server.store.database import FILE_NAME, Database
from headrace.settings import Settings, load
from headrace.testing.postgres import Cluster

from .databases import contents, emptied
from .journals import JOURNAL, NOW, a_run, an_id, lines

DATA = lines(a_run(1))


@pytest.fixture
def settings(database_url: str, home: Path) -> Settings:
    """Settings of somebody who says no more than where the database is, an empty one; on SQLite not even that."""
    if database_url:
        with emptied(database_url, home):
            pass
    return load().replace(database_url=database_url)


@pytest.fixture
def port(settings: Settings) -> Iterator[EmbeddedJournals]:
    port = EmbeddedJournals(settings)
    yield port
    port.close()


def ask(settings: Settings) -> None:
    database = Database.open(settings.database_url, settings.home_path)
    database.write(
        lambda connection: journals.add_command(
            connection, JOURNAL, action="cancel", flow_run_id=an_id(0, 1), who="me", asked_us=NOW
        )
    )
    database.close()


def test_it_is_a_port_and_a_later_server_shows_what_was_shipped(
    port: EmbeddedJournals, settings: Settings
) -> None:
    """Offsets, bytes and refusals as a server's."""
    as_port: JournalPort = port
    first = DATA.index(b"\n") + 1

    assert as_port.offset(JOURNAL) == 0
    assert as_port.append(JOURNAL, 0, DATA[:first]) == first
    with pytest.raises(OffsetMismatch):
        as_port.append(JOURNAL, first + 1, DATA[first + 1 :])
    assert as_port.append(JOURNAL, first, DATA[first:]) == len(DATA) == as_port.offset(JOURNAL)
    database = Database.open(settings.database_url, settings.home_path)
    told = contents(database)
    database.close()
    assert [row["state_type"] for row in told["flow_runs"]] == ["COMPLETED"]


def test_a_command_that_is_there_is_told_at_once(port: EmbeddedJournals, settings: Settings) -> None:
    """Once: the next poll asks for what is newer."""
    ask(settings)
    found = port.commands(JOURNAL, after=0, wait=20)

    assert [(one.action, one.flow_run_id, one.who) for one in found] == [("cancel", an_id(0, 1), "me")]
    assert port.commands(JOURNAL, after=found[0].id, wait=0) == []


def test_a_command_that_another_process_gives_meanwhile_ends_the_wait(
    port: EmbeddedJournals, settings: Settings
) -> None:
    """Well before its time is over."""
    port.offset(JOURNAL)
    giving = threading.Timer(0.1, ask, [settings])
    giving.start()
    began = time.monotonic()
    found = port.commands(JOURNAL, after=0, wait=30)
    giving.join()

    assert len(found) == 1
    assert time.monotonic() - began < 15


def test_closing_ends_the_wait(port: EmbeddedJournals) -> None:
    """A supervisor that goes does not wait for an answer nobody gives; and it is closed for good."""
    port.offset(JOURNAL)
    closing = threading.Timer(0.1, port.close)
    closing.start()
    began = time.monotonic()
    assert port.commands(JOURNAL, after=0, wait=30) == []
    closing.join()

    assert time.monotonic() - began < 15
    port.close()
    with pytest.raises(ServerUnavailable):
        port.offset(JOURNAL)


def test_a_file_that_cannot_be_used_is_unavailable_and_says_where(home: Path) -> None:
    """The supervisor keeps the journal and tries again; the next try may succeed."""
    home.mkdir()
    (home / FILE_NAME).mkdir()
    port = EmbeddedJournals(load())
    with pytest.raises(ServerUnavailable, match=str(home)):
        port.append(JOURNAL, 0, DATA)
    (home / FILE_NAME).rmdir()

    assert port.append(JOURNAL, 0, DATA) == len(DATA)
    port.close()


def test_a_postgres_that_is_away_is_unavailable_and_says_which(
    postgres: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same there, with what names it and without its password; once it is back all goes on."""
    monkeypatch.setattr("headrace.server.store.writer.PAUSES_S", (0.0,))
    with postgres.database() as url:
        named = make_url(url).set(password="a secret").render_as_string(hide_password=False)
        port = EmbeddedJournals(load().replace(database_url=named))
        first = DATA.index(b"\n") + 1
        port.append(JOURNAL, 0, DATA[:first])
        postgres.stop()
        asked = (
            lambda: port.offset(JOURNAL),
            lambda: port.append(JOURNAL, first, DATA[first:]),
            lambda: port.commands(JOURNAL, after=0, wait=5),
        )
        for ask in asked:
            with pytest.raises(
                ServerUnavailable, match="HEADRACE_DATABASE_URL names could not be used"
            ) as caught:
                ask()
            assert "secret" not in str(caught.value)
        postgres.start()

        assert port.offset(JOURNAL) == first
        assert port.append(JOURNAL, first, DATA[first:]) == len(DATA)
        port.close()


def test_a_postgres_that_is_not_there_yet_is_unavailable_and_the_next_try_may_succeed(
    postgres: Cluster, home: Path
) -> None:
    """A companion that comes first makes the tables."""
    with postgres.database() as url:
        later = url.replace("/test_", "/later_")
        port = EmbeddedJournals(load().replace(database_url=later))
        with pytest.raises(ServerUnavailable, match="does not exist"):
            port.append(JOURNAL, 0, DATA)
        postgres.create(str(make_url(later).database))

        assert port.append(JOURNAL, 0, DATA) == len(DATA)
        port.close()
        postgres.drop(str(make_url(later).database))


def test_a_file_that_is_no_database_is_unavailable(home: Path) -> None:
    """And is left as it is."""
    home.mkdir()
    (home / FILE_NAME).write_bytes(b"something else" * 1_000)
    port = EmbeddedJournals(load())
    with pytest.raises(ServerUnavailable, match="not a database"):
        port.offset(JOURNAL)
    port.close()

    assert (home / FILE_NAME).read_bytes() == b"something else" * 1_000


def test_a_companion_loads_no_web_server() -> None:
    """Its whole life is shorter than their import."""
    code = "import sys,headrace.embedded;print([m for m in ('fastapi','httpx','pydantic','alembic','uvicorn','psycopg') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
