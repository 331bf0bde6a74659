"""The lease of the loops: one server turns them, another takes over, and an old fence writes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from headrace.server.services.loop_lease import HOLD_S, RENEW_S, LeaseLost, LoopLease
from headrace.server.store.database import Database
from headrace.server.store.tables import flows, leases

from ..journals import NOW


class Clock:
    """Tells the time it was set to."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> int:
        return self.at

    def pass_s(self, seconds: float) -> None:
        self.at += int(seconds * 1e6)


@pytest.fixture
def clock() -> Clock:
    """A clock turned by hand, which both servers read."""
    return Clock()


def row(database: Database) -> dict[str, Any]:
    with database.read() as connection:
        return dict(connection.execute(select(leases)).mappings().one())


def make_flow(connection: Connection) -> None:
    connection.execute(
        insert(flows).values(id="0" * 8 + "-0000-0000-0000-" + "0" * 12, name="x", created_us=1, updated_us=1)
    )


def test_the_first_takes_it_and_the_second_waits(database: Database, clock: Clock) -> None:
    """The row tells who holds it."""
    first = LoopLease(database, now_us=clock, holder="first")
    second = LoopLease(database, now_us=clock, holder="second")
    first.tick()
    second.tick()

    assert (first.held(), second.held()) == (True, False)
    assert row(database) == {
        "name": "loops",
        "holder": "first",
        "fence": 1,
        "until_us": NOW + int(HOLD_S * 1e6),
    }


def test_while_it_is_renewed_nobody_else_takes_it(database: Database, clock: Clock) -> None:
    """And nothing but the time changes."""
    first, second = LoopLease(database, now_us=clock), LoopLease(database, now_us=clock)
    for _ in range(5):
        first.tick()
        second.tick()
        clock.pass_s(RENEW_S)

    assert (first.held(), second.held()) == (True, False)
    assert row(database)["fence"] == 1
    assert first.every_s == RENEW_S
    assert first.outage is None


def test_another_takes_over_when_it_has_run_out(database: Database, clock: Clock) -> None:
    """Not before; and the first, should it live, finds that out by itself."""
    first, second = LoopLease(database, now_us=clock), LoopLease(database, now_us=clock)
    first.tick()
    clock.pass_s(HOLD_S - 0.001)
    second.tick()
    assert (first.held(), second.held()) == (True, False)
    clock.pass_s(0.001)
    assert first.held() is False
    second.tick()
    first.tick()

    assert (first.held(), second.held()) == (False, True)
    assert (second.fence(), first.fence()) == (2, None)


def test_a_write_under_an_old_fence_is_refused(database: Database, clock: Clock) -> None:
    """Also when its holder had not noticed: the fence is looked at within the transaction."""
    first, second = LoopLease(database, now_us=clock), LoopLease(database, now_us=clock)
    slow = Clock()
    first._now_us = slow  # its clock stands still: it believes that it holds the lease
    first.tick()
    clock.pass_s(HOLD_S)
    second.tick()
    assert (first.held(), second.held()) == (True, True)

    with pytest.raises(LeaseLost):
        first.write(make_flow)
    second.write(make_flow)
    first.tick()
    assert first.held() is False
    with pytest.raises(LeaseLost):
        first.write(make_flow)


def test_given_up_it_is_taken_at_once(database: Database, clock: Clock) -> None:
    """A server that is stopped does not keep the others waiting; giving up twice is fine."""
    first, second = LoopLease(database, now_us=clock), LoopLease(database, now_us=clock)
    first.tick()
    first.finish()
    first.finish()
    second.tick()

    assert (first.held(), second.held()) == (False, True)


def test_what_was_late_to_renew_goes_on_if_nobody_came(database: Database, clock: Clock) -> None:
    """The database was away, for all servers; the fence is the same."""
    first = LoopLease(database, now_us=clock)
    first.tick()
    clock.pass_s(100)
    assert first.held() is False
    first.tick()

    assert first.fence() == 1


def test_the_time_without_any_server_is_known(database: Database, clock: Clock) -> None:
    """From the last sign of the one before to the start of this one."""
    LoopLease(database, now_us=clock).tick()
    clock.pass_s(3600)
    next_one = LoopLease(database, now_us=clock)
    clock.pass_s(1)
    next_one.tick()

    assert next_one.outage == (NOW, NOW + 3600_000_000)


def test_only_one_of_two_that_saw_it_free_gets_it(database: Database, clock: Clock) -> None:
    """Both read before either writes."""
    from headrace.server.store import leases as store

    for seen in (None, store.Lease("first", 1, 10)):
        taken = [
            database.write(lambda c, who=who, seen=seen: store.take(c, database.kind, "loops", who, seen, 10))
            for who in ("first", "second")
        ]
        assert [fence for fence in taken if fence is not None] == [1 if seen is None else 2]


def test_a_database_that_is_away_ends_no_loop(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again sooner than usual, and held on to as long as the last renewal lasts."""
    first = LoopLease(database, now_us=clock)
    first.tick()
    clock.pass_s(RENEW_S)
    with monkeypatch.context() as patch:
        patch.setattr(database, "write", lambda _work: (_ for _ in ()).throw(OSError("away")))
        with pytest.raises(OSError, match="away"):
            first.tick()
    assert first.every_s < RENEW_S
    assert first.held() is True
    first.tick()
    clock.pass_s(HOLD_S - 0.001)

    assert first.held() is True
