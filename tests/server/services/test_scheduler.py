"""The scheduler, turned by hand: what it plans and when, after changes, outages and handovers; and what it writes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from headrace.model.clock import iso
from headrace.model.ids import IdFactory
from headrace.model.planning import Catchup, Reach
from headrace.server.orchestration.proposals import propose_flow_run
from headrace.server.orchestration.rules import Proposal
from headrace.server.services.loop_lease import HOLD_S, LoopLease
from headrace.server.services.scheduler import LOOK_S, Scheduler
from headrace.server.store import deployments, flow_runs, places, planning, schedules
from headrace.server.store.database import Database

from .hands import FLOW, NOON, Clock, deployment, every, rows, schedule_ids, seconds

HOUR = 3600
REACH = Reach()


@pytest.fixture
def clock() -> Clock:
    """It is noon."""
    return Clock()


def server(
    database: Database, clock: Clock, reach: Reach = REACH, publish: Callable[..., None] | None = None
) -> tuple[LoopLease, Scheduler]:
    """Give the loops of a server that has just come up."""
    lease = LoopLease(database, now_us=clock)
    lease.tick()
    told = {} if publish is None else {"publish": publish}
    return lease, Scheduler(database, lease, reach=reach, now_us=clock, **told)


def change(database: Database, deployment_id: str, clock: Clock, **changes: Any) -> None:
    """Change the first schedule of a deployment as the API does."""
    schedule = schedule_ids(database, deployment_id)[0]

    def work(connection: Connection) -> None:
        deployments.lock(connection, deployment_id)
        schedules.change(connection, deployment_id, schedule, changes, clock())
        planning.drop_planned(connection, deployment_id, [schedule])

    database.write(work)


@contextmanager
def statements(database: Database, what: str = "before_cursor_execute") -> Iterator[list[str]]:
    """Collect the first words of the statements that are carried out; or something else that happens."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any = None, statement: str = "COMMIT", *_: Any) -> None:
        found.append(statement.split()[0])

    engines = (database._engine, database._readers)
    for engine in engines:
        event.listen(engine, what, note)
    try:
        yield found
    finally:
        for engine in engines:
            event.remove(engine, what, note)


# What is planned


def test_the_near_future_is_planned(database: Database, clock: Clock) -> None:
    """All times of an hour and some more; of a slow schedule three and some more."""
    deployment(database, every(600), name="often")
    deployment(database, every(24 * HOUR), name="daily")
    _, scheduler = server(database, clock)
    scheduler.tick()

    assert [at for at in seconds(database) if at < 24 * HOUR] == [600.0 * n for n in range(1, 10)]
    assert [at for at in seconds(database) if at >= 24 * HOUR] == [24.0 * HOUR * n for n in range(1, 6)]


def test_a_run_has_all_that_a_deployments_run_has(database: Database, clock: Clock) -> None:
    """And the schedule's parameters over the deployment's."""
    ids = IdFactory()
    place = database.write(lambda c: places.find(c, None, "fast", new_id=lambda: ids.new(NOON), now_us=NOON))
    assert place is not None
    id = deployment(
        database,
        {"schedule": every(24 * HOUR), "parameters": {"y": 3}, "max_scheduled_runs": 1},
        name="daily",
        parameters={"x": 1, "y": 2},
        tags=["a"],
        labels={"team": "data"},
        version="v7",
        work_queue_id=place.work_queue_id,
    )
    told: list[tuple[Any, Any]] = []
    _, scheduler = server(database, clock, publish=lambda *news: told.append(news))
    scheduler.tick()
    (row,) = rows(database)
    when = iso(NOON + 24 * HOUR * 1_000_000)

    assert row["parameters"] == {"x": 1, "y": 3}
    assert row["tags"] == ["a", "auto-scheduled"]
    assert row["labels"] == {"team": "data", "prefect.flow.id": FLOW, "prefect.deployment.id": id}
    assert (row["flow_id"], row["deployment_id"], row["deployment_version"]) == (FLOW, id, "v7")
    assert {name: row[name] for name in place._fields} == place._asdict()
    assert (row["state_type"], row["state_name"], row["auto_scheduled"]) == ("SCHEDULED", "Scheduled", True)
    assert row["next_scheduled_us"] == row["expected_start_us"] == NOON + 24 * HOUR * 1_000_000
    assert row["idempotency_key"] == f"scheduled {row['schedule_id']} {when}"
    assert row["schedule_id"] == schedule_ids(database, id)[0]
    assert row["created_by"] == {"id": id, "type": "DEPLOYMENT", "display_value": "daily"}
    (news,) = told
    assert news[1] is None
    with database.read() as connection:
        assert news[0] == flow_runs.get(connection, row["id"], clock())


def test_what_is_not_in_force_is_not_planned(database: Database, clock: Clock) -> None:
    """A schedule that is not active, a deployment that is paused."""
    deployment(database, {"schedule": every(60), "active": False}, name="idle")
    deployment(database, every(60), name="paused", paused=True)
    _, scheduler = server(database, clock)
    scheduler.tick()

    assert rows(database) == []


def test_time_passes_and_nothing_is_left_out_or_made_twice(database: Database, clock: Clock) -> None:
    """Three hours, with a tick whenever the scheduler would wake."""
    deployment(database, every(60))
    _, scheduler = server(database, clock)
    lease = scheduler._lease
    while clock() < NOON + 3 * HOUR * 1_000_000:
        lease.tick()
        scheduler.tick()
        ahead = [at for at in seconds(database) if at * 1e6 + NOON > clock()]
        assert ahead[59] <= (clock() - NOON) / 1e6 + HOUR
        assert len(ahead) <= 100
        clock.pass_s(scheduler.every_s)

    found = seconds(database)
    assert found == [60.0 * n for n in range(1, len(found) + 1)]


def test_ten_thousand_runs_come_in_several_transactions(database: Database, clock: Clock) -> None:
    """So that others can write between them."""
    for number in range(25):
        deployment(database, every(10), name=f"d{number}")
    _, scheduler = server(database, clock)
    with statements(database, "commit") as commits:
        scheduler.tick()

    assert len(rows(database)) == 2_500
    assert len(commits) == 3


def test_a_schedule_that_this_host_cannot_read_stops_no_other(
    database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its zone may be missing here; it is told once."""
    deployment(database, {"cron": "0 0 * * *", "timezone": "Mars/Olympus"}, name="odd")
    deployment(database, every(24 * HOUR), name="well")
    _, scheduler = server(database, clock)
    with caplog.at_level(logging.WARNING):
        scheduler.tick()
        scheduler.tick()

    assert len(rows(database)) == 5
    assert [
        text for text in caplog.messages if "plans nothing" in text and "Mars/Olympus" in text
    ] == caplog.messages
    assert len(caplog.messages) == 1


# Changes


def test_changing_a_schedule_replaces_what_it_planned(database: Database, clock: Clock) -> None:
    """What another schedule of the deployment planned stays."""
    id = deployment(database, every(24 * HOUR), {"schedule": every(12 * HOUR), "parameters": {"n": 2}})
    _, scheduler = server(database, clock)
    scheduler.tick()
    kept = {row["id"] for row in rows(database) if row["parameters"]}
    clock.pass_s(5)
    change(database, id, clock, schedule=every(HOUR), parameters={"n": 1})
    scheduler.tick()

    assert {row["id"] for row in rows(database) if (row["parameters"] or {}).get("n") == 2} == kept
    again = [row["expected_start_us"] for row in rows(database) if row["id"] not in kept]
    assert again == [NOON + n * HOUR * 1_000_000 for n in range(1, 6)]


def test_the_same_times_planned_anew_are_made_anew(database: Database, clock: Clock) -> None:
    """The key of a run that was dropped may be used again."""
    id = deployment(database, every(24 * HOUR))
    _, scheduler = server(database, clock)
    scheduler.tick()
    before = rows(database)
    change(database, id, clock, parameters={"x": 2})
    scheduler.tick()

    assert [row["expected_start_us"] for row in rows(database)] == [
        row["expected_start_us"] for row in before
    ]
    assert {row["id"] for row in rows(database)}.isdisjoint(row["id"] for row in before)


def test_after_a_pause_nothing_is_caught_up(database: Database, clock: Clock) -> None:
    """Somebody paused it on purpose."""
    id = deployment(database, every(60))
    lease, scheduler = server(database, clock, REACH._replace(catchup=Catchup.ALL))
    scheduler.tick()

    def pause(connection: Connection) -> None:
        deployments.change(connection, id, {"paused": True}, clock())
        planning.drop_planned(connection, id)

    def resume(connection: Connection) -> None:
        deployments.change(connection, id, {"paused": False}, clock())
        schedules.restart(connection, id, clock())

    database.write(pause)
    lease.tick()
    scheduler.tick()
    assert rows(database) == []
    clock.pass_s(HOUR)
    database.write(resume)
    lease.tick()
    scheduler.tick()

    assert seconds(database)[0] == HOUR + 60


def test_a_change_wakes_it_at_once(database: Database) -> None:
    """Whoever changes a schedule in this process sets the event; the loop would sleep for seconds."""
    real = Clock(NOON)
    lease = LoopLease(database, now_us=real)
    lease.tick()
    changed, planned = threading.Event(), threading.Event()
    scheduler = Scheduler(
        database, lease, reach=REACH, now_us=real, publish=lambda *_: planned.set(), changed=changed
    )
    scheduler.start()
    try:
        assert scheduler.every_s == LOOK_S
        deployment(database, every(24 * HOUR))
        changed.set()
        assert planned.wait(LOOK_S / 2)
    finally:
        scheduler.stop()


# Outages


@pytest.mark.parametrize(
    ("catchup", "kept"),
    [("none", []), ("latest", [18_000.0]), ("all", [3_600.0 * n for n in (1, 2, 3, 4, 5)])],
)
def test_after_an_outage_runs_are_made_up_for_as_was_asked(
    database: Database, clock: Clock, catchup: str, kept: list[float]
) -> None:
    """Five were planned before it, and their times passed while no server was up."""
    deployment(database, every(HOUR))
    server(database, clock)[1].tick()
    assert seconds(database) == [3_600.0 * n for n in range(1, 6)]
    clock.pass_s(5.5 * HOUR)
    _, scheduler = server(database, clock, REACH._replace(catchup=Catchup(catchup)))
    scheduler.tick()

    assert [at for at in seconds(database) if at < 5.5 * HOUR] == kept
    assert [at for at in seconds(database) if at > 5.5 * HOUR] == [3_600.0 * n for n in range(6, 11)]


@pytest.mark.parametrize(
    ("catchup", "kept"),
    [("none", []), ("latest", [36_000.0]), ("all", [3_600.0 * n for n in range(1, 11)])],
)
def test_times_that_nobody_planned_count_as_well(
    database: Database, clock: Clock, catchup: str, kept: list[float]
) -> None:
    """Five were planned before the outage, five more passed in it: they are one row of times."""
    deployment(database, every(HOUR))
    server(database, clock)[1].tick()
    clock.pass_s(10.5 * HOUR)
    server(database, clock, REACH._replace(catchup=Catchup(catchup)))[1].tick()

    assert [at for at in seconds(database) if at < 10.5 * HOUR] == kept


def test_what_was_overdue_before_the_outage_or_was_taken_is_left_alone(
    database: Database, clock: Clock
) -> None:
    """No worker took the first: that is not the outage's doing. The second has begun."""
    deployment(database, every(HOUR))
    lease, scheduler = server(database, clock)
    scheduler.tick()
    clock.pass_s(1.5 * HOUR)
    lease.tick()
    scheduler.tick()
    taken = rows(database)[1]["id"]
    begin = Proposal("RUNNING", "Running", force=True)
    database.write(lambda c: propose_flow_run(c, taken, begin, now_us=clock(), new_id=lambda: taken))
    clock.pass_s(4 * HOUR)
    server(database, clock, REACH._replace(catchup=Catchup.NONE))[1].tick()

    assert [at for at in seconds(database) if at < 5.5 * HOUR] == [1.0 * HOUR, 2.0 * HOUR]


def test_a_run_that_is_only_just_overdue_is_no_victim_of_an_outage(database: Database, clock: Clock) -> None:
    """A server that is started again within seconds drops nothing."""
    deployment(database, every(HOUR))
    lease, scheduler = server(database, clock)
    clock.pass_s(HOUR - 5)
    lease.tick()
    scheduler.tick()
    lease.finish()
    clock.pass_s(8)
    server(database, clock, REACH._replace(catchup=Catchup.NONE))[1].tick()

    assert seconds(database)[0] == HOUR


def test_a_handover_is_no_outage(database: Database, clock: Clock) -> None:
    """The second server was up all the time, and runs that were due then waited for a worker, not for a server."""
    deployment(database, every(HOUR))
    server(database, clock)[1].tick()
    none = REACH._replace(catchup=Catchup.NONE, grace=timedelta(0))
    second, next_one = server(database, clock, none)
    clock.pass_s(HOUR + 1)
    second.tick()
    next_one.tick()

    assert second.held() is True
    assert seconds(database)[0] == HOUR


# Two servers


def test_only_the_one_with_the_lease_plans(database: Database, clock: Clock) -> None:
    """The other looks at nothing, until it takes over; then it goes on where the first left."""
    _, one = server(database, clock)
    second, other = server(database, clock)
    deployment(database, every(600))
    with statements(database) as made:
        other.tick()
    assert made == []
    one.tick()
    before = seconds(database)
    clock.pass_s(HOLD_S)
    second.tick()
    other.tick()
    one.tick()
    assert seconds(database) == before
    clock.pass_s(HOUR)
    second.tick()
    other.tick()

    found = seconds(database)
    assert found == [600.0 * n for n in range(1, len(found) + 1)]
    assert len(found) > len(before)


def test_a_server_that_lost_the_lease_without_noticing_plans_nothing(
    database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its transaction is refused by the fence, and the one that follows goes on."""
    slow = Clock()
    _, one = server(database, slow)
    clock.pass_s(HOLD_S)
    _, other = server(database, clock)
    deployment(database, every(600))
    with caplog.at_level(logging.INFO):
        one.tick()
    assert rows(database) == []
    assert "Another server plans the runs" in caplog.text
    other.tick()

    assert seconds(database) == [600.0 * n for n in range(1, 10)]


# Cost


def test_an_idle_scheduler_reads_one_statement_and_writes_nothing(database: Database, clock: Clock) -> None:
    """A hundred deployments, at any second of ten minutes in which nothing is to be planned."""
    for number in range(100):
        deployment(database, every(24 * HOUR), name=f"d{number}")
    lease, scheduler = server(database, clock)
    scheduler.tick()
    with statements(database) as made:
        for _ in range(60):
            clock.pass_s(scheduler.every_s)
            lease._grip = lease._grip and lease._grip._replace(until_us=clock() + 1_000_000)
            scheduler.tick()

    assert scheduler.every_s == LOOK_S
    assert [word for word in made if word not in ("SELECT", "BEGIN")] == []
    assert made.count("SELECT") == 60


def test_schedules_of_every_minute_cost_few_writes(database: Database, clock: Clock) -> None:
    """A hundred of them for two hours: they are planned together, now and then."""
    for number in range(100):
        deployment(database, every(60 + number / 10), name=f"d{number}")
    lease, scheduler = server(database, clock)
    scheduler.tick()
    first = len(rows(database))
    with statements(database) as made:
        until = clock() + 2 * HOUR * 1_000_000
        while clock() < until:
            clock.pass_s(scheduler.every_s)
            lease._grip = lease._grip and lease._grip._replace(until_us=clock() + 1_000_000)
            scheduler.tick()

    assert len(rows(database)) > first + 8_000
    # of 0.2 writes a second, those that the lease leaves
    assert len([word for word in made if word in ("INSERT", "UPDATE", "DELETE")]) <= 2 * HOUR * (0.2 - 1 / 7)
