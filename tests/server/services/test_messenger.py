"""Hints between servers on one PostgreSQL: heard by all others, told together, and got over when they are lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from headrace.server.services.messenger import EVERYBODY, MANY, Messenger
from headrace.server.store.channel import LONGEST, open_channel
from headrace.server.store.database import Database
from headrace.testing.postgres import Cluster


class Ear:
    """A server's messenger, and what it heard."""

    def __init__(self, database: Database) -> None:
        self.heard: list[str] = []
        self.messages = 0
        self.messenger = Messenger(database, hear=self._hear)

    def _hear(self, ids: Collection[str]) -> None:
        self.messages += bool(ids)
        self.heard.extend(ids)


def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.005)


@pytest.fixture
def database(postgres: Cluster, home: Path) -> Iterator[Database]:
    """A database on PostgreSQL."""
    with postgres.database() as url, contextlib.closing(Database.open(url, home)) as opened:
        yield opened


@pytest.fixture
def ears(database: Database) -> Iterator[tuple[Ear, Ear]]:
    """Two that listen."""
    two = Ear(database), Ear(database)
    for ear in two:
        ear.messenger.start()
    try:
        until(
            lambda: all(ear.heard == [EVERYBODY] for ear in two)
        )  # what each says to itself when it is there
        yield two
    finally:
        for ear in two:
            ear.messenger.stop()


def test_the_others_hear_and_who_told_does_not(ears: tuple[Ear, Ear]) -> None:
    """At once, and each id once."""
    one, other = ears
    one.messenger.tell(["a", "b"])
    until(lambda: len(other.heard) == 3)
    other.messenger.tell(["c"])
    until(lambda: len(one.heard) == 2)

    assert other.heard == [EVERYBODY, "a", "b"]
    assert one.heard == [EVERYBODY, "c"]


def test_what_is_told_in_a_burst_goes_together(ears: tuple[Ear, Ear]) -> None:
    """A thousand tellings of 200 ids become a few messages."""
    one, other = ears
    ids = [f"01a20879-4912-75ac-8e3e-{number:012x}" for number in range(200)]
    for _ in range(5):
        for id in ids:
            one.messenger.tell([id])
    until(lambda: set(ids) <= set(other.heard))

    assert other.messages < 20


def test_news_of_very_many_are_news_for_everybody(ears: tuple[Ear, Ear]) -> None:
    """So a message never grows beyond what PostgreSQL takes."""
    one, other = ears
    one.messenger.tell([str(number) for number in range(MANY + 1)])
    until(lambda: len(other.heard) == 2)

    assert other.heard == [EVERYBODY, EVERYBODY]


def test_a_long_list_is_sent_in_pieces(database: Database) -> None:
    """None is longer than one notification may be, and no id is torn."""
    sender, listener = open_channel(database), open_channel(database)
    assert sender is not None
    assert listener is not None
    words = [f"{number:036d}" for number in range(500)]
    try:
        sender.send(words)
        heard: list[str] = []
        until(lambda: len(heard.extend(listener.wait(0.1)) or " ".join(heard).split()) == len(words))  # type: ignore[func-returns-value]
    finally:
        sender.close()
        listener.close()

    assert " ".join(heard).split() == words
    assert max(map(len, heard)) <= LONGEST


def test_a_connection_that_was_cut_is_made_again(database: Database) -> None:
    """Everybody looks then, for nobody knows what was missed; the pause is not waited for here."""
    one, other = Ear(database), Ear(database)
    for ear in (one, other):
        ear.messenger.every_s = 0.0
    other.messenger.start()
    one.messenger.start()
    try:
        until(lambda: all(ear.heard == [EVERYBODY] for ear in (one, other)))
        cut = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND "
            "datname = current_database()"
        )
        database.write(lambda connection: connection.execute(cut).all())
        until(lambda: one.messenger.every_s > 0 and other.messenger.every_s > 0)
        for ear in (one, other):
            ear.messenger.wake()
        until(lambda: all(ear.heard == [EVERYBODY] * 2 for ear in (one, other)))
        one.messenger.tell(["a"])
        until(lambda: other.heard[-1] == "a")
    finally:
        for ear in (one, other):
            ear.messenger.stop()


def test_sqlite_has_no_channel(home: Path) -> None:
    """Nobody is there to be told."""
    with contextlib.closing(Database.open(None, home)) as database:
        assert open_channel(database) is None
