"""Deliveries that come together end as if each had come alone, and none of them pays for another."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select
from sqlalchemy.engine import Connection

from headrace.errors import OffsetMismatch
from headrace.journal.reader import whole
from headrace.model import entries
from headrace.server.ingest import Deliveries, append, deliveries
from headrace.server.ingest.delivery import Delivery, Outcome, Taken, take
from headrace.server.ingest.lines import read
from headrace.server.store import tables
from headrace.server.store.database import Database
from tests.verdicts.house import until

from ..databases import clear, contents
from ..journals import JOURNAL, NOW, a_run, an_id, lines, odd_journals


def of_another(data: bytes, number: int, *, own: bool) -> bytes:
    """Return a journal as another one, which tells of the same runs or of runs of its ``own``."""
    data = data.replace(JOURNAL.encode(), an_id(number, 0xA).encode())
    if own:
        for kind in (1, 2):
            data = data.replace(an_id(0, kind)[:-3].encode(), an_id(number << 12, kind)[:-3].encode())
    return data


def piece(number: int, offset: int, data: bytes) -> Delivery:
    return Delivery(read(an_id(number, 0xA), offset, data), NOW, leased=False)


def told(outcome: Outcome | Exception) -> Any:
    """Return an outcome in a form that can be compared."""
    return (outcome.given, outcome.expected) if isinstance(outcome, OffsetMismatch) else outcome


def but_for_the_order(database: Database) -> dict[str, Any]:
    """Return what a database holds, without what tells which of two journals came first: a flow is as old as it was then."""
    held = contents(database)
    return {**held, "flows": [{**row, "created_us": None} for row in held["flows"]]}


_journals = st.lists(st.tuples(odd_journals(most=12), st.booleans()), min_size=1, max_size=4)
_cuts = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-200, 20), st.integers(0, 900)), max_size=6), max_size=5
)
"""Companies of deliveries: which journal, where it begins, counted from what is held, how many bytes."""


@settings(max_examples=80)
@given(told_by=_journals, companies=_cuts)
def test_a_company_ends_as_if_each_had_come_alone(
    kept: Database,
    beside: Database,
    told_by: list[tuple[bytes, bool]],
    companies: list[list[tuple[int, int, int]]],
) -> None:
    """Also where they are of one journal, tell of the same runs, come twice or too early: answers and content."""
    clear(kept)
    clear(beside)
    whole_journals = [of_another(data, number, own=own) for number, (data, own) in enumerate(told_by)]
    held = [0] * len(whole_journals)
    together = Deliveries(kept)
    companies = [*companies, [(number, 0, 1 << 20) for number in range(len(held))]]
    for company in companies:
        pieces = []
        for number, shift, size in company:
            number %= len(held)
            begin = max(0, held[number] + shift)
            pieces.append(piece(number, begin, whole_journals[number][begin : begin + size]))
        alone = [beside.write(lambda c, one=one: take(c, beside.kind, [one]))[0] for one in pieces]
        came = together._take_all(pieces)

        assert list(map(told, alone)) == list(map(told, came))
        for one, outcome in zip(pieces, alone, strict=True):
            if isinstance(outcome, Taken):
                held[int(one.batch.journal[-12:], 16)] = outcome.held
    assert but_for_the_order(beside) == but_for_the_order(kept)


def test_who_comes_together_shares_statements(database: Database) -> None:
    """Twenty runs that end take as many transactions and hardly more statements than one."""
    counted: list[str] = []
    engine = database._engine
    event.listen(engine, "before_cursor_execute", lambda *told: counted.append(told[2]))
    came = Deliveries(database)
    one = came._take_all([piece(99, 0, of_another(lines(a_run(logs=1)), 99, own=True))])
    alone = len(counted)
    counted.clear()
    many = came._take_all([piece(n, 0, of_another(lines(a_run(logs=1)), n, own=True)) for n in range(20)])

    assert [isinstance(outcome, Taken) for outcome in [*one, *many]] == [True] * 21
    assert len(counted) <= alone + 4, counted


def test_what_cannot_be_taken_in_harms_none_that_came_with_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender is told; the others' bytes are held."""

    def picky(connection: Connection, kind: ModuleType, some: Sequence[Delivery]) -> list[Outcome]:
        taken = take(connection, kind, some)
        if any(one.batch.journal == an_id(2, 0xA) for one in some):
            raise ValueError("not this one")
        return taken

    monkeypatch.setattr(deliveries, "take", picky)
    data = {number: of_another(lines(a_run()), number, own=True) for number in range(4)}
    came = Deliveries(database)._take_all([piece(number, 0, some) for number, some in data.items()])

    assert [len(data[0]), len(data[1]), "not this one", len(data[3])] == [
        one.held if isinstance(one, Taken) else str(one) for one in came
    ]
    with database.read() as connection:
        c = tables.journals.c
        held = {row.id: row.offset for row in connection.execute(select(c.id, c.offset))}
    assert held == {an_id(number, 0xA): len(data[number]) for number in (0, 1, 3)}


def test_a_delivery_that_is_stuck_holds_up_no_other(postgres_url: str, database: Database) -> None:
    """Somebody holds the row of one journal; the others are taken in meanwhile, and it is when that is over."""
    if database.url.get_backend_name() == "sqlite":
        return  # one transaction writes at a time: there is no row to hold
    first = lines(a_run())
    append(database, JOURNAL, 0, first, now_us=NOW, leased=False)
    more = lines([entries.Log(NOW + 5, 20, "flow", "late", an_id(0, 1))])
    came = Deliveries(database)
    with ThreadPoolExecutor(8) as threads:
        with database._readers.connect() as other:
            other = other.execution_options(postgresql_readonly=False)
            other.execute(
                select(tables.journals.c.id).where(tables.journals.c.id == JOURNAL).with_for_update()
            )
            stuck = threads.submit(came.append, JOURNAL, len(first), more, now_us=NOW, leased=False)
            until(lambda: _waiting(database), "it to wait for the row")
            others = [
                threads.submit(
                    came.append, an_id(n, 0xA), 0, of_another(first, n, own=True), now_us=NOW, leased=False
                )
                for n in range(2, 7)
            ]
            assert [one.result(30).held for one in others] == [len(whole(first))] * 5
            assert not stuck.done()
        assert stuck.result(30).held == len(first) + len(more)


def _waiting(database: Database) -> bool:
    with database.read() as connection:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(connection.exec_driver_sql(statement).scalar())
