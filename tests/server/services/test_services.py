"""The server's loops, turned by hand; and the one thing they share, that nothing ends them."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from sqlalchemy.exc import OperationalError

from headrace.server.ingest import append
from headrace.server.services.last_seen import LastSeen
from headrace.server.services.lease_watch import LeaseWatch
from headrace.server.services.loop_lease import HOLD_S, Alone, LoopLease
from headrace.server.services.service import Service
from headrace.server.store import journals
from headrace.server.store.database import Database

from ..databases import contents
from ..journals import JOURNAL, NOW, a_run, lines

LEASE = 30


class Clock:
    """Tells the time it was set to."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> int:
        return self.at

    def pass_s(self, seconds: float) -> None:
        self.at += int(seconds * 1e6)


class Failing(Service):
    """Fails in every tick, and counts them."""

    every_s = 0.001

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error or OSError("no")
        self.ticks = 0
        self.enough = threading.Event()
        self.finished = 0

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == 3:
            self.enough.set()
        raise self.error

    def finish(self) -> None:
        self.finished += 1


def test_an_error_does_not_end_a_loop(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback, and the next tick comes."""
    service = Failing()
    with caplog.at_level(logging.ERROR):
        service.start()
        service.start()
        assert service.enough.wait(20)
        service.stop()
        service.stop()

    assert service.finished == 1
    assert "Failing could not do its work" in caplog.text
    assert "OSError: no" in caplog.text


def test_a_database_that_is_away_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Without a traceback, which would only hide why."""
    service = Failing(OperationalError("SELECT 1", {}, Exception("the connection\n is closed")))
    with caplog.at_level(logging.WARNING):
        service.start()
        assert service.enough.wait(20)
        service.stop()

    assert "Failing will try again in 0.001 s: the connection is closed" in caplog.messages
    assert "Traceback" not in caplog.text


def test_a_service_that_never_started_may_be_stopped() -> None:
    """And one that was stopped may be started again."""
    service = Failing()
    service.stop()
    service.start()
    service.stop()
    service.start()
    assert service.enough.wait(20)
    service.stop()

    assert service.finished == 2


def test_a_loop_that_is_woken_turns_at_once() -> None:
    """However long its pause is, and also when it was woken before it began."""
    service = Failing()
    service.every_s = 3_600
    service.wake()
    service.start()
    for turn in (1, 2, 3):
        deadline = time.monotonic() + 20
        while service.ticks < turn:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        service.wake()
    service.stop()


def leased(database: Database) -> LastSeen:
    append(database, JOURNAL, 0, lines(a_run(0)[:-2]), now_us=NOW, leased=True)
    seen = LastSeen(database)
    seen.note(JOURNAL, NOW)
    return seen


def state(database: Database) -> str:
    return str(contents(database)["flow_runs"][0]["state_name"])


def test_a_lapsed_lease_is_presumed_and_a_sign_of_life_takes_it_back(database: Database) -> None:
    """Not a moment before the lease is over."""
    clock = Clock()
    seen = leased(database)
    watch = LeaseWatch(
        database, Alone(database), lease_s=LEASE, now_us=clock, steady_us=clock, flush=seen.tick
    )
    clock.pass_s(LEASE)
    watch.tick()
    assert state(database) == "Running"
    clock.pass_s(0.001)
    watch.tick()
    assert state(database) == "Lost"
    seen.note(JOURNAL, clock())
    seen.tick()
    assert state(database) == "Running"


def test_a_server_that_was_down_itself_waits_for_one_lease(database: Database) -> None:
    """While it was down nobody could be heard."""
    clock = Clock()
    leased(database).tick()
    clock.pass_s(1_000)
    watch = LeaseWatch(database, Alone(database), lease_s=LEASE, now_us=clock, steady_us=clock)
    clock.pass_s(LEASE - 1)
    watch.tick()
    assert state(database) == "Running"
    clock.pass_s(1)
    watch.tick()
    assert state(database) == "Lost"


@pytest.mark.parametrize("step_s", [3_600.0, -3_600.0])
def test_a_clock_that_is_set_makes_nobody_silent(database: Database, step_s: float) -> None:
    """Who was heard just before is not presumed lost by it; who stays silent is, a lease later by the new clock."""
    clock, steady = Clock(), Clock()
    leased(database).tick()
    watch = LeaseWatch(database, Alone(database), lease_s=LEASE, now_us=clock, steady_us=steady)
    clock.pass_s(step_s)
    for _ in range(10):
        for one in (clock, steady):
            one.pass_s(LEASE / 10 - 0.01)
        watch.tick()
        assert state(database) == "Running"
    for one in (clock, steady):
        one.pass_s(3_600 + LEASE + 1)
    watch.tick()
    assert state(database) == "Lost"


def two_leases(database: Database) -> tuple[LoopLease, LoopLease, Clock]:
    """Return the lease of a server whose clock stands still, and of one that has taken over; the time of the second."""
    clock, slow = Clock(), Clock()
    first, second = LoopLease(database, now_us=slow), LoopLease(database, now_us=clock)
    first.tick()
    clock.pass_s(HOLD_S + 1)
    second.tick()
    return first, second, clock


def test_only_the_server_that_turns_the_loops_watches(database: Database) -> None:
    """Another one leaves it to that."""
    leased(database).tick()
    _, holder, clock = two_leases(database)
    other = LoopLease(database, now_us=clock)
    other.tick()
    watches = [
        LeaseWatch(database, lease, lease_s=LEASE, now_us=clock, steady_us=clock) for lease in (other, holder)
    ]
    clock.pass_s(2 * LEASE)
    holder.tick()
    for watch, then in zip(watches, ("Running", "Lost"), strict=True):
        watch.tick()

        assert state(database) == then


def test_a_server_that_lost_the_lease_without_noticing_presumes_nothing(database: Database) -> None:
    """It was frozen until another took over: what it would write is refused by the fence, and it does not fail of it."""
    leased(database).tick()
    frozen, _, _ = two_leases(database)
    clock = Clock()
    watch = LeaseWatch(database, frozen, lease_s=LEASE, now_us=clock, steady_us=clock)
    clock.pass_s(2 * LEASE)
    assert frozen.held(), "it believes so"
    watch.tick()

    assert state(database) == "Running"


def test_what_is_only_in_memory_counts_as_seen(database: Database) -> None:
    """The watch writes it down before it judges."""
    clock = Clock()
    seen = leased(database)
    watch = LeaseWatch(
        database, Alone(database), lease_s=LEASE, now_us=clock, steady_us=clock, flush=seen.tick
    )
    clock.pass_s(LEASE + 5)
    seen.note(JOURNAL, clock())
    watch.tick()

    assert state(database) == "Running"


def test_a_journal_without_a_lease_is_never_presumed_lost(database: Database) -> None:
    """An embedded one: its own host sees whether it lives."""
    clock = Clock()
    append(database, JOURNAL, 0, lines(a_run(0)[:-2]), now_us=NOW, leased=False)
    watch = LeaseWatch(database, Alone(database), lease_s=LEASE, now_us=clock, steady_us=clock)
    clock.pass_s(10 * LEASE)
    watch.tick()

    assert state(database) == "Running"


def test_signs_of_life_that_could_not_be_written_are_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a newer one is not written over by the older."""
    seen = leased(database)
    with monkeypatch.context() as patch:
        patch.setattr(database, "write", lambda _work: (_ for _ in ()).throw(OSError("away")))
        with pytest.raises(OSError, match="away"):
            seen.tick()
    seen.note(JOURNAL, NOW + 9)
    seen.tick()
    with database.read() as connection:
        row = journals.get(connection, JOURNAL)

    assert row is not None
    assert row["last_seen_us"] == NOW + 9
