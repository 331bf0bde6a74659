"""Retention as a server's loop: one server at a time turns it, and a server that ends does not wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from headrace.server.app import create_app
from headrace.server.services.loop_lease import HOLD_S, LoopLease
from headrace.server.services.retention import Ages, Retention
from headrace.server.store.database import Database
from headrace.server.store.retention import ended
from headrace.settings import load

from ..journals import NOW
from ..store.filled import DAY_US, take

AGES = Ages(runs=90 * DAY_US, logs=None, events=None)


class Clock:
    """Tells the time it was set to."""

    def __init__(self) -> None:
        self.at = NOW + 100 * DAY_US

    def __call__(self) -> int:
        return self.at


def left(database: Database) -> int:
    with database.read() as connection:
        return len(ended(connection, NOW + 100 * DAY_US, 100))


def test_only_the_server_that_holds_the_lease_deletes(database: Database) -> None:
    """The other one takes over with the lease."""
    take(database, 0)
    clock = Clock()
    first, second = LoopLease(database, now_us=clock), LoopLease(database, now_us=clock)
    first.tick()
    waiting = Retention(database, second, ages=AGES, now_us=clock)
    waiting.tick()

    assert left(database) == 1

    clock.at += int(HOLD_S * 1e6) + 1
    second.tick()
    waiting.tick()

    assert left(database) == 0


def test_a_server_that_lost_the_lease_meanwhile_deletes_nothing_more(database: Database) -> None:
    """What it writes under its old fence is refused, and it does not fail of it."""
    for number in range(120):  # more than one slice locks
        take(database, number, tasks=0, logs=0)
    clock = Clock()
    first, second = LoopLease(database, now_us=clock), LoopLease(database, now_us=clock)
    first.tick()
    write, slices = first.write, 0

    def losing(work: Callable[[Connection], Any]) -> Any:
        nonlocal slices
        slices += 1
        done = write(work)
        clock.at += int(HOLD_S * 1e6) + 1
        second.tick()
        return done

    first.write = losing  # type: ignore[method-assign]
    gone = Retention(database, first, ages=AGES, now_us=lambda: NOW + 100 * DAY_US).sweep()

    assert slices == 2
    assert gone["flow_runs"] == 50
    assert left(database) == 70


def test_a_server_turns_it(database: Database) -> None:
    """It is among the loops of every server, and ends with it."""
    app = create_app(load(), database)

    async def live() -> set[str]:
        async with app.router.lifespan_context(app):
            return {thread.name for thread in threading.enumerate()}

    names = asyncio.run(live())

    assert "headrace-Retention" in names
    assert "headrace-Retention" not in {thread.name for thread in threading.enumerate()}
