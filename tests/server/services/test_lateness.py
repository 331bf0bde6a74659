"""Lateness, turned by hand: runs that nobody took are Late, suspended ones that nobody resumed have failed."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.engine import Connection

from headrace.model.clock import iso
from headrace.model.planning import Reach
from headrace.server.orchestration.proposals import propose_flow_run
from headrace.server.orchestration.rules import Proposal
from headrace.server.services.lateness import NEVER_RESUMED, Lateness
from headrace.server.services.loop_lease import LoopLease
from headrace.server.services.scheduler import Scheduler
from headrace.server.store import flow_runs, task_runs
from headrace.server.store.database import Database

from .hands import NOON, Clock, deployment, every, rows
from .test_scheduler import statements

LATE_AFTER = 15


@pytest.fixture
def clock() -> Clock:
    """It is noon."""
    return Clock()


def planned(database: Database, clock: Clock) -> LoopLease:
    """Plan five runs, an hour apart; give the lease."""
    deployment(database, every(3600))
    lease = LoopLease(database, now_us=clock)
    lease.tick()
    Scheduler(database, lease, reach=Reach(), now_us=clock).tick()
    return lease


def enter(database: Database, run: str, clock: Clock, type: str, name: str, **details: Any) -> None:
    """Put a run into a state."""
    proposal = Proposal(type, name, details=details, force=True)
    id = run[:-4] + f"{clock() % 0xFFFF:04x}"
    database.write(lambda c: propose_flow_run(c, run, proposal, now_us=clock(), new_id=lambda: id))


def states(database: Database) -> list[str]:
    """Return the names of the runs' states, by the time for which they are planned."""
    return [row["state_name"] for row in rows(database)]


def test_a_run_is_late_when_nobody_took_it_in_time(database: Database, clock: Clock) -> None:
    """Fifteen seconds after its time; it keeps its time, and is told of once."""
    lease = planned(database, clock)
    told: list[Any] = []
    late = Lateness(
        database, lease, late_after_s=LATE_AFTER, now_us=clock, publish=lambda *news: told.append(news)
    )
    clock.pass_s(3600 + LATE_AFTER - 0.001)
    lease.tick()
    late.tick()
    assert states(database) == ["Scheduled"] * 5
    clock.pass_s(0.001)
    late.tick()
    late.tick()
    first = rows(database)[0]

    assert states(database) == ["Late"] + ["Scheduled"] * 4
    assert (first["state_type"], first["next_scheduled_us"]) == ("SCHEDULED", NOON + 3600_000_000)
    assert first["expected_start_us"] == first["next_scheduled_us"]
    ((run, before),) = told
    assert (run["id"], run["state"]["name"], before["name"]) == (first["id"], "Late", "Scheduled")
    assert run["state"]["state_details"]["scheduled_time"] == iso(NOON + 3600_000_000)


def test_what_is_late_can_still_be_taken(database: Database, clock: Clock) -> None:
    """It is only a word for people."""
    lease = planned(database, clock)
    clock.pass_s(4000)
    lease.tick()
    Lateness(database, lease, late_after_s=LATE_AFTER, now_us=clock).tick()
    id = rows(database)[0]["id"]
    took = Proposal("PENDING", "Pending")
    outcome = database.write(
        lambda c: propose_flow_run(c, id, took, now_us=clock(), new_id=lambda: id[:-1] + "0")
    )

    assert outcome is not None
    assert outcome.answer.status == "ACCEPT"


def test_what_is_late_is_shown_in_its_parent(database: Database, clock: Clock) -> None:
    """The task run that stands for it there, made before it, has its state with its time."""
    lease = planned(database, clock)
    id = rows(database)[0]["id"]
    shown = id[:-1] + "f"
    made = {"id": shown, "task_key": "k", "dynamic_key": "0", "name": "n", "created_us": NOON - 777}

    def tie(connection: Connection) -> None:
        flow_runs.change(connection, id, {"parent_task_run_id": shown})
        task_runs.create(connection, {**made, "child_flow_run_id": id})

    database.write(tie)
    clock.pass_s(4000)
    lease.tick()
    Lateness(database, lease, late_after_s=LATE_AFTER, now_us=clock).tick()
    with database.read() as connection:
        run, task = flow_runs.get(connection, id, clock()), task_runs.get(connection, shown, clock())

    assert run is not None and task is not None
    assert task["state_name"] == run["state_name"] == "Late"
    assert task["state"]["timestamp"] == run["state"]["timestamp"]


def test_many_late_runs_come_in_steps(database: Database, clock: Clock) -> None:
    """After a day without workers."""
    for number in range(5):
        deployment(database, every(60), name=f"d{number}")
    lease = planned(database, clock)
    clock.pass_s(6 * 3600)
    lease.tick()
    with statements(database, "commit") as commits:
        Lateness(database, lease, late_after_s=LATE_AFTER, now_us=clock).tick()

    assert set(states(database)) == {"Late"}
    assert len(commits) >= len(rows(database)) / 100 > 4


@pytest.mark.parametrize(("type", "name"), [("SCHEDULED", "AwaitingRetry"), ("PENDING", "Pending")])
def test_only_a_scheduled_run_is_late(database: Database, clock: Clock, type: str, name: str) -> None:
    """One that was taken, or that waits for its next try, is not."""
    lease = planned(database, clock)
    enter(database, rows(database)[0]["id"], clock, type, name)
    clock.pass_s(4000)
    lease.tick()
    Lateness(database, lease, late_after_s=LATE_AFTER, now_us=clock).tick()

    assert states(database)[0] == name


def test_a_suspended_run_that_nobody_resumes_fails(database: Database, clock: Clock) -> None:
    """When its patience is over; one that waits in its process, or for ever, is left alone."""
    lease = planned(database, clock)
    suspended, waiting, patient = (row["id"] for row in rows(database)[:3])
    until = iso(NOON + 60_000_000)
    enter(database, suspended, clock, "PAUSED", "Suspended", pause_reschedule=True, pause_timeout=until)
    enter(database, waiting, clock, "PAUSED", "Paused", pause_timeout=until)
    enter(database, patient, clock, "PAUSED", "Suspended", pause_reschedule=True)
    late = Lateness(database, lease, late_after_s=LATE_AFTER, now_us=clock)
    for _ in range(2):
        clock.pass_s(30)
        lease.tick()
        late.tick()
        assert states(database)[:3] == ["Suspended", "Paused", "Suspended"]
    clock.pass_s(0.001)
    late.tick()
    late.tick()

    assert states(database)[:3] == ["Failed", "Paused", "Suspended"]
    with database.read() as connection:
        run = flow_runs.get(connection, suspended, clock())
    assert run is not None
    assert run["state"]["message"] == NEVER_RESUMED
    assert run["end_time"] == run["state"]["timestamp"]


def test_a_run_that_was_resumed_and_paused_again_has_new_patience(database: Database, clock: Clock) -> None:
    """What was known of its first pause is forgotten."""
    lease = planned(database, clock)
    id = rows(database)[0]["id"]
    late = Lateness(database, lease, late_after_s=LATE_AFTER, now_us=clock)
    for patience in (60, 600):
        until = iso(clock() + patience * 1_000_000)
        enter(database, id, clock, "PAUSED", "Suspended", pause_reschedule=True, pause_timeout=until)
        clock.pass_s(8)
        lease.tick()
        late.tick()
        enter(database, id, clock, "RUNNING", "Running") if patience == 60 else None
    clock.pass_s(300)
    lease.tick()
    late.tick()

    assert states(database)[0] == "Suspended"


def test_without_the_lease_or_anything_late_nothing_is_written(database: Database, clock: Clock) -> None:
    """And without the lease nothing is asked either."""
    lease = planned(database, clock)
    other = LoopLease(database, now_us=clock)
    late, idle = (Lateness(database, each, late_after_s=LATE_AFTER, now_us=clock) for each in (lease, other))
    with statements(database) as made:
        idle.tick()
        assert made == []
        late.tick()

    assert [word for word in made if word != "BEGIN"] == ["SELECT"] * 3


def limited(database: Database, clock: Clock, grace_s: int | None) -> tuple[LoopLease, str, str]:
    """Plan runs of a limited deployment and of one without a limit; return the first of each."""
    options = None if grace_s is None else {"collision_strategy": "ENQUEUE", "grace_period_seconds": grace_s}
    id = deployment(database, every(3600), name="limited", concurrency_limit=1, concurrency_options=options)
    lease = planned(database, clock)
    runs = rows(database)
    first = next(row["id"] for row in runs if row["deployment_id"] == id)
    return lease, first, next(row["id"] for row in runs if row["deployment_id"] != id)


def lateness(
    database: Database, lease: LoopLease, clock: Clock, published: list[Any] | None = None
) -> Lateness:
    """Return the loop."""
    told = published if published is not None else []
    return Lateness(database, lease, late_after_s=1e6, now_us=clock, publish=lambda *news: told.append(news))


@pytest.mark.parametrize(("grace_s", "after_s"), [(None, 600), (120, 120)])
def test_a_slot_of_a_deployment_is_not_held_by_a_run_that_nobody_begins(
    database: Database, clock: Clock, grace_s: int | None, after_s: int
) -> None:
    """After the deployment's grace it is Lost, and its slot is free; a run under no limit may wait for ever."""
    lease, run, other = limited(database, clock, grace_s)
    for each in (run, other):
        enter(database, each, clock, "PENDING", "Submitting")
    told: list[Any] = []
    late = lateness(database, lease, clock, told)
    clock.pass_s(after_s)
    lease.tick()
    late.tick()
    assert told == []
    clock.pass_s(0.001)
    late.tick()
    late.tick()
    found = {row["id"]: (row["state_type"], row["state_name"], row["holds_slot"]) for row in rows(database)}

    assert found[run] == ("CRASHED", "Lost", False)
    assert found[other] == ("PENDING", "Submitting", True)
    ((now, before),) = told
    assert (now["id"], before["name"]) == (run, "Submitting")
    assert f"for {after_s} s" in now["state"]["message"]


def test_a_run_that_begins_late_runs_after_all(database: Database, clock: Clock) -> None:
    """That it was lost was a presumption."""
    lease, run, _ = limited(database, clock, 60)
    enter(database, run, clock, "PENDING", "Submitting")
    clock.pass_s(61)
    lease.tick()
    lateness(database, lease, clock).tick()
    begun = Proposal("RUNNING", "Running")
    outcome = database.write(
        lambda c: propose_flow_run(c, run, begun, now_us=clock(), new_id=lambda: run[:-1] + "0")
    )

    assert outcome is not None and outcome.state is not None
    assert (outcome.answer.status, outcome.state.type) == ("ACCEPT", "RUNNING")


def test_a_run_that_is_heard_of_keeps_its_slot(database: Database, clock: Clock) -> None:
    """Each state counts anew; one that runs is left alone."""
    lease, run, _ = limited(database, clock, 60)
    late = lateness(database, lease, clock)
    for type, name in (("PENDING", "Pending"), ("PENDING", "Submitting"), ("RUNNING", "Running")):
        enter(database, run, clock, type, name)
        clock.pass_s(59)
        lease.tick()
        late.tick()
    clock.pass_s(59)
    lease.tick()
    late.tick()

    assert next(row for row in rows(database) if row["id"] == run)["state_name"] == "Running"
