"""What is asked of a journal's process reaches it once, in order."""

from __future__ import annotations

from headrace.server.store import journals
from headrace.server.store.database import Database

from ..journals import JOURNAL, NOW, an_id

OTHER, RUN = an_id(2, 0xA), an_id(1, 1)


def ask(database: Database, journal: str, who: str | None = None) -> int:
    return database.write(
        lambda connection: journals.add_command(
            connection, journal, action="cancel", flow_run_id=RUN, who=who, asked_us=NOW
        )
    )


def test_a_poll_gets_what_is_newer_than_the_last_it_saw(database: Database) -> None:
    """Of its own journal only, oldest first."""
    first, _other, second = ask(database, JOURNAL, "me"), ask(database, OTHER), ask(database, JOURNAL)
    with database.read() as connection:
        everything = journals.commands(connection, JOURNAL, 0)
        newer = journals.commands(connection, JOURNAL, first)
        nothing = journals.commands(connection, JOURNAL, second)

    assert [command.id for command in everything] == [first, second]
    assert (everything[0].action, everything[0].flow_run_id, everything[0].who) == ("cancel", RUN, "me")
    assert everything[0].asked_us == NOW
    assert [command.id for command in newer] == [second]
    assert nothing == []


def test_only_the_first_receipt_of_a_command_counts(database: Database) -> None:
    """A supervisor that takes a journal over may tell again."""
    ask(database, JOURNAL)
    for at in (NOW + 1, NOW + 2):
        database.write(lambda connection, at=at: journals.acknowledge(connection, JOURNAL, {RUN: at}))
    with database.read() as connection:
        reached = connection.exec_driver_sql("SELECT acknowledged_us FROM commands").scalars().all()

    assert reached == [NOW + 1]


def test_a_journal_nobody_knows_holds_nothing(database: Database) -> None:
    """Its offset is 0, and it is asked nothing."""
    with database.read() as connection:
        assert journals.offset(connection, JOURNAL) == 0
        assert journals.get(connection, JOURNAL) is None
        assert journals.commands(connection, JOURNAL, 0) == []
