"""Every transaction that locks more than one kind of row keeps the order of ``store/locks.py``; each path is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from headrace.model import entries
from headrace.model.ids import IdFactory
from headrace.server.ingest import Deliveries, append, presume_lost, sign_of_life
from headrace.server.ingest.delivery import Delivery, Taken
from headrace.server.ingest.lines import read
from headrace.server.orchestration import task_run_events
from headrace.server.services.lateness import Lateness
from headrace.server.services.loop_lease import LoopLease
from headrace.server.services.retention import Ages, Retention
from headrace.server.services.roll_call import RollCall
from headrace.server.store import claims, deletion, locks, tables
from headrace.server.store.database import Database
from headrace.server.store.serving import Asker

from ..databases import emptied
from ..events import told
from ..journals import NOW, an_id, lines, opened
from ..lock_record import LockRecord, recording
from ..serving import NOON_US, Api, serving
from .filled import DAY_US, fill

Path_ = Callable[[Api, Database], None]
PATHS: list[Path_] = []
_ids = IdFactory()


@pytest.fixture
def database(postgres_url: str, home: Path) -> Iterator[Database]:
    """An empty database on PostgreSQL, where rows are locked one by one."""
    with emptied(postgres_url, home) as database:
        yield database


def path(work: Path_) -> Path_:
    """Have a way through the server recorded."""
    PATHS.append(work)
    return work


def deployed(api: Api, name: str = "nightly", queue: str = "default", **fields: Any) -> str:
    """Make a deployment in the pool ``alpha``, and the pool; return its id."""
    api.post("/work_pools/", json={"name": "alpha", "type": "process"})
    flow = api.post("/flows/", json={"name": "etl"}).json()["id"]
    body = {
        "name": name,
        "flow_id": flow,
        "work_pool_name": "alpha",
        "work_queue_name": queue,
        "entrypoint": "f.py:etl",
        **fields,
    }
    return str(api.post("/deployments/", json=body).json()["id"])


def planned(api: Api, deployment: str, **fields: Any) -> str:
    """Make a run of a deployment; return its id."""
    return str(api.post(f"/deployments/{deployment}/create_flow_run", json=fields).json()["id"])


def limited_everywhere(api: Api) -> list[str]:
    """Make three deployments in two queues of a pool, each with a limit, and runs of them; return the deployments."""
    made = []
    for number, queue in ((3, "default"), (1, "fast"), (2, "default")):
        made.append(deployed(api, f"d{number}", queue, concurrency_limit=1))
    api.patch("/work_pools/alpha", json={"concurrency_limit": 50})
    for queue in api.post("/work_pools/alpha/queues/filter", json={}).json():
        api.patch(f"/work_queues/{queue['id']}", json={"concurrency_limit": 20})
    for deployment in (*made, *made):
        planned(api, deployment)
    return made


def claim(api: Api, have: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Claim runs of the pool as a worker does that has some already."""
    known = [one["journal"] for one in have or []]
    body = {"worker_id": an_id(1, 9), "worker_name": "w", "limit": 10, "wait": 0.0, "have": known}
    answer = api.post("/work_pools/alpha/claim", json=body)
    assert answer.status_code == 200, answer.text
    return list(answer.json().get("claims", []))


def told_of(claimed: dict[str, Any], *records: entries.Entry, end: bool = False) -> bytes:
    """Return the journal of an attempt."""
    run, now = claimed["run"]["id"], NOON_US
    first: list[entries.Entry] = [
        entries.Open(
            claimed["journal"], now, (now * 1000, 0), 7, 7, "boot", "mill", attempt=claimed["attempt"]
        ),
        entries.FlowRun(run, now, "etl", "told", planned=True, version="1"),
        entries.State(run, now + 1, "RUNNING"),
    ]
    return lines([*first, *records, *([entries.Exit(now + 9, 0)] if end else [])])


@path
def claims_under_every_limit(api: Api, _database: Database) -> None:
    """Pool, queues and deployments have limits; a second claim finds full deployments in its way."""
    limited_everywhere(api)
    given = claim(api)
    assert len(given) == 3
    assert claim(api, given) == []


@path
def proposals_under_every_limit(api: Api, _database: Database) -> None:
    """A worker of the contract begins runs, cancels one, resumes one."""
    deployment = limited_everywhere(api)[0]
    run = planned(api, deployment)
    for type in ("PENDING", "RUNNING", "PAUSED", "RUNNING", "CANCELLING", "CANCELLED"):
        api.propose("flow_runs", run, type)


@path
def a_journal_from_claim_to_end(api: Api, database: Database) -> None:
    """With a task, a subflow, its mirror, a log, an input and a command that is acknowledged."""
    deployed_runs = [planned(api, deployed(api)) for _ in range(2)]
    claimed = claim(api)
    assert {one["run"]["id"] for one in claimed} == set(deployed_runs)
    for number, one in enumerate(claimed):
        run, child, place, task = one["run"]["id"], an_id(number, 3), an_id(number, 4), an_id(number, 5)
        now = NOON_US
        begun = told_of(
            one,
            entries.FlowRun(child, now + 2, "etl", "child", parent=run, placeholder=place),
            entries.State(child, now + 3, "RUNNING"),
            entries.TaskRun(task, now + 3, "k", "t", "0", run),
            entries.Log(now + 4, 20, "flow", "hello", run),
        )
        append(database, one["journal"], 0, begun, now_us=now, leased=True)
        api.propose("flow_runs", run, "CANCELLING")
        more = lines(
            [
                entries.Asked(now + 5, run, "cancel", "somebody"),
                entries.Input(run, now + 5, "key", "1"),
                entries.State(task, now + 6, "COMPLETED"),
                entries.State(child, now + 7, "COMPLETED"),
                entries.State(run, now + 8, "COMPLETED"),
                entries.Exit(now + 9, 0),
            ]
        )
        append(database, one["journal"], len(begun), more, now_us=now + 10, leased=True)


@path
def deliveries_that_come_together(api: Api, database: Database) -> None:
    """Runs of deployments that end, one of them by a crash, and new ones with tasks, subflows and many log lines."""
    for name in ("b", "a", "c"):
        planned(api, deployed(api, name))
    came = Deliveries(database)
    pieces = []
    for number, one in enumerate(reversed(claim(api))):
        run, end = one["run"]["id"], NOON_US + 5
        ends: entries.Entry = (
            entries.Verdict(run, end, "CRASHED", "Crashed", "Killed.")
            if number == 0
            else entries.State(run, end, "COMPLETED")
        )
        pieces.append(
            piece(one["journal"], told_of(one, entries.Log(end, 20, "flow", "hello", run), ends, end=True))
        )
    for number in (3, 1, 2):
        run, child, place = an_id(number, 13), an_id(9 - number, 14), an_id(9 - number, 15)
        records = [
            opened(an_id(number, 12)),
            entries.FlowRun(run, NOON_US, f"flow-{9 - number}", "new"),
            entries.FlowRun(child, NOON_US + 2, "etl", "child", parent=run, placeholder=place),
            entries.State(child, NOON_US + 3, "RUNNING"),
            entries.TaskRun(an_id(number, 16), NOON_US + 3, "k", "t", "0", run),
        ]
        pieces.append(piece(an_id(number, 12), lines(records)))
    assert [type(outcome) for outcome in came._take_all(pieces)] == [Taken] * 6
    more = []
    for _ in range(10):  # so that there are chunks to put together
        for part in pieces[3:]:
            log = entries.Log(NOON_US + 4, 20, "flow", "line", part.batch.lines[1][1].run)  # type: ignore[union-attr]
            more.append((part.batch.journal, lines([log])))
    held = {part.batch.journal: part.batch.end for part in pieces}
    for start in range(0, len(more), 3):
        some = [piece(journal, data, held[journal]) for journal, data in more[start : start + 3]]
        held |= {one.batch.journal: one.batch.end for one in some}
        came._take_all(some)
    ends = [(part.batch.journal, part.batch.lines[1][1].run) for part in pieces[3:]]  # type: ignore[union-attr]
    last = [
        piece(journal, lines([entries.State(run, NOON_US + 9, "COMPLETED")]), held[journal])
        for journal, run in ends
    ]
    assert [type(outcome) for outcome in came._take_all(last)] == [Taken] * 3


def piece(journal: str, data: bytes, offset: int = 0) -> Delivery:
    """Return a delivery."""
    return Delivery(read(journal, offset, data), NOON_US, leased=False)


@path
def a_crash_that_pulls_the_brake(api: Api, database: Database) -> None:
    """The deployment is paused, its planned runs go, and the run's log is told."""
    deployment = deployed(api, crash_brake={"crashes": 1, "seconds": 600})
    planned(api, deployment)
    [one] = claim(api)
    rule = {"schedule": {"interval": 3600.0}, "active": True}
    api.post(f"/deployments/{deployment}/schedules", json=[rule])
    api.post(f"/deployments/{deployment}/schedule", json={})
    verdict = entries.Verdict(one["run"]["id"], NOON_US + 5, "CRASHED", "Crashed", "Killed.")
    append(database, one["journal"], 0, told_of(one, verdict, end=True), now_us=NOON_US, leased=True)
    assert api.get(f"/deployments/{deployment}").json()["paused"]


@path
def silence_and_signs_of_life(api: Api, database: Database) -> None:
    """Two journals' runs are presumed lost; one comes back by a flush, the other by bytes."""
    for _ in range(2):
        planned(api, deployed(api))
    claimed = claim(api)
    bodies = []
    for one in claimed:
        bodies.append(told_of(one))
        append(database, one["journal"], 0, bodies[-1], now_us=NOON_US, leased=True)
    sign_of_life(database, {one["journal"]: NOON_US + 5 for one in claimed})
    for one in claimed:
        later = NOON_US + 60_000_000
        presume_lost(database, one["journal"], before_us=later - 1, now_us=later, new_id=_ids.new)
    sign_of_life(database, {one["journal"]: NOON_US + 70_000_000 for one in claimed})
    for one in claimed:
        later = NOON_US + 160_000_000
        presume_lost(database, one["journal"], before_us=later - 1, now_us=later, new_id=_ids.new)
    for one, body in zip(claimed, bodies, strict=True):
        end = lines([entries.State(one["run"]["id"], NOON_US + 9, "COMPLETED")])
        append(database, one["journal"], len(body), end, now_us=NOON_US + 200_000_000, leased=True)
        assert api.state_of(one["run"]["id"])[0] == "COMPLETED"


@path
def late_runs(api: Api, database: Database) -> None:
    """Many become Late in one transaction, under the loops' lease."""
    for _ in range(3):
        planned(api, deployed(api))
    api.clock.pass_s(3600)
    lease = LoopLease(database, now_us=api.clock)
    lease.tick()
    Lateness(database, lease, late_after_s=10.0, now_us=api.clock).tick()


@path
def who_asks_is_written_down(api: Api, database: Database) -> None:
    """Queues, deployments and workers are flushed together; then somebody is heard of again."""
    deployment = deployed(api)
    pool = api.get("/work_pools/alpha").json()
    roll_call = RollCall(database)
    for at in (1, 2):
        for name in ("w2", "w1"):
            roll_call.note(pool["id"], name, [pool["default_queue_id"]], NOON_US + at)
        roll_call.note(None, "", [deployment], NOON_US + at)
        roll_call.tick()


@path
def deployments_change(api: Api, _database: Database) -> None:
    """Place, schedules, pause: what they planned goes."""
    deployment = deployed(api)
    rule = {"schedule": {"interval": 3600.0}, "active": True}
    [first, _] = api.post(f"/deployments/{deployment}/schedules", json=[rule, rule]).json()
    api.post(f"/deployments/{deployment}/schedule", json={})
    api.patch(f"/deployments/{deployment}/schedules/{first['id']}", json={"active": False})
    api.patch(f"/deployments/{deployment}", json={"work_queue_name": "new", "tags": ["a"]})
    api.patch(f"/deployments/{deployment}", json={"schedules": [rule]})
    api.post(f"/deployments/{deployment}/schedule", json={})
    api.post(f"/deployments/{deployment}/pause_deployment")
    api.post(f"/deployments/{deployment}/resume_deployment")


@path
def queues_change_and_go(api: Api, _database: Database) -> None:
    """Priorities are pushed back, a queue is renamed under its runs, and deleted under its deployments."""
    for name in ("a", "b", "c"):
        planned(api, deployed(api, name, name))
    queues = {one["name"]: one["id"] for one in api.post("/work_pools/alpha/queues/filter", json={}).json()}
    api.patch(f"/work_queues/{queues['c']}", json={"priority": 1})
    api.post("/work_pools/alpha/queues", json={"name": "d", "priority": 1})
    api.patch(f"/work_queues/{queues['a']}", json={"name": "renamed"})
    assert api.delete(f"/work_queues/{queues['b']}").status_code == 204
    assert api.delete("/work_pools/alpha").status_code == 204


@path
def a_pool_goes_with_its_workers(api: Api, _database: Database) -> None:
    """Queues, deployments, runs and workers are its own."""
    for name in ("b", "a"):
        planned(api, deployed(api, name))
        api.post("/work_pools/alpha/workers/heartbeat", json={"name": name})
    assert api.delete("/work_pools/alpha").status_code == 204


@path
def flows_go_with_all_they_have(api: Api, database: Database) -> None:
    """Deployments, schedules, runs, task runs, logs."""
    a_journal_from_claim_to_end(api, database)
    rule = {"schedule": {"interval": 3600.0}, "active": True}
    deployed(api, "other", schedules=[rule])
    assert len(api.post("/flows/bulk_delete", json={}).json()["deleted"]) == 1


@path
def deployments_and_runs_go(api: Api, _database: Database) -> None:
    """Several at once."""
    for name in ("b", "a", "c"):
        planned(api, deployed(api, name, schedules=[{"schedule": {"interval": 3600.0}}]))
    assert len(api.post("/deployments/bulk_delete", json={}).json()["deleted"]) == 3
    runs = [api.flow_run()["id"] for _ in range(3)]
    assert len(api.post("/flow_runs/bulk_delete", json={}).json()["deleted"]) == len(runs)


@path
def retention_deletes_what_is_old(api: Api, database: Database) -> None:
    """Several runs in a slice, what is left of others, events, and the journals' rows."""
    fill(database, runs=3, tasks=120, logs=30)
    old_us = NOW + 200 * DAY_US
    lease = LoopLease(database, now_us=lambda: old_us)
    lease.tick()
    gone = Retention(database, lease, ages=Ages(DAY_US, DAY_US, DAY_US), now_us=lambda: old_us).sweep()
    assert (gone["flow_runs"], gone["rows"] > 363) == (3, True)


@path
def subflows_of_foreign_clients(api: Api, _database: Database) -> None:
    """A task run stands for the new run, and mirrors its states."""
    parent = api.flow_run()
    body = {"flow_run_id": parent["id"], "task_key": "k", "dynamic_key": "0"}
    place = api.post("/task_runs/", json=body).json()["id"]
    child = api.flow_run(parent_task_run_id=place)["id"]
    for type in ("RUNNING", "COMPLETED"):
        api.propose("flow_runs", child, type)
    api.propose("task_runs", place, "COMPLETED")
    assert api.delete(f"/task_runs/{place}").status_code == 204


@path
def events_of_foreign_clients(_api: Api, database: Database) -> None:
    """Batches that name task runs in any order, new ones and known ones."""
    for steps in ((0,), (1, 0), (2,)):
        events = [told(task, step) for task in (3, 1, 4, 2) for step in steps]
        database.write(lambda connection, some=events: task_run_events.take(connection, some, NOW))  # type: ignore[misc]


@pytest.mark.parametrize("walk", PATHS, ids=lambda walk: walk.__name__)
def test_the_order_of_locks_is_kept(database: Database, walk: Path_) -> None:
    """No transaction waits for a row that comes before one that it holds."""
    with serving(database) as api, recording(database) as record:
        walk(api, database)

    assert record.violations() == []
    assert record.transactions


def test_the_paths_lock_rows_of_every_kind(database: Database, home: Path) -> None:
    """What is recorded is not nothing: no table is missing but the events', which nobody writes twice."""
    kinds: set[str] = set()
    for walk in PATHS:
        with emptied(database.url.render_as_string(hide_password=False), home) as fresh:
            with serving(fresh) as api, recording(fresh) as record:
                walk(api, fresh)
            kinds |= record.kinds()

    assert {table.name for table in locks.ORDER} - kinds <= {"events"}


def test_every_table_has_its_place() -> None:
    """A new table is put into the order on purpose."""
    assert {table.name for table in locks.ORDER} == set(tables.metadata.tables)


def _record(database: Database, *works: Callable[..., object]) -> LockRecord:
    with recording(database) as record:
        for work in works:
            database.write(work)
    return record


def test_a_step_back_is_seen(database: Database) -> None:
    """A queue before its pool, rows of one kind the wrong way round, an UPDATE of several, a reference's check."""
    with serving(database) as api:
        deployed(api, "a")
        deployed(api, "b", "other")
    q, p, d = tables.work_queues.c, tables.work_pools.c, tables.deployments.c
    with database.read() as connection:
        first, second = connection.execute(select(q.id).order_by(q.id)).scalars()

    def backwards(connection: Any) -> None:
        # As if nobody looked (store/turns.py): the record is of the rows, whatever statements say of themselves.
        connection.execute(select(q.id).where(q.id == first).with_for_update())
        connection.execute(select(p.id).where(p.name == "alpha").with_for_update())

    def wrong_way_round(connection: Any) -> None:
        for id in (second, first):
            locks.hold(connection, tables.work_queues, q.id == id)

    def in_no_order(connection: Any) -> None:
        connection.execute(update(tables.work_queues).values(description="x"))

    def by_a_reference(connection: Any) -> None:
        locks.hold(connection, tables.deployments, d.name == "a")
        connection.execute(update(tables.deployments).where(d.name == "a").values(work_queue_id=second))

    for work, words in (
        (backwards, "waits for work_pools"),
        (wrong_way_round, "waits for work_queues"),
        (in_no_order, "takes 2 rows in no order"),
        (by_a_reference, "waits for work_queues"),
    ):
        [violation] = _record(database, work).violations()
        assert words in violation


def test_what_is_passed_over_is_not_waited_for(database: Database) -> None:
    """So claims that meet do not wait for each other's runs; nor is a flow deleted that has just got a deployment."""
    with serving(database) as api:
        runs = [planned(api, deployed(api)) for _ in range(2)]
        flow = api.post("/flows/", json={"name": "etl"}).json()["id"]
        pool = api.get("/work_pools/alpha").json()["id"]

        def both(connection: Any) -> list[str]:
            asker = Asker(an_id(1, 9), "w", pool, None, (), 1)
            locks.hold(connection, tables.flow_runs, tables.flow_runs.c.id == runs[0])

            def other(inner: Any) -> list[str]:
                [given] = claims.claim(inner, [asker], NOON_US + 10**6, new_id=lambda: _ids.new(NOON_US)).to
                return [one.run.id for one in given]

            with database._engine.begin() as second:
                return other(second)

        assert database.write(both) == [runs[1]]  # the first in its turn is somebody's: the one behind it
        assert database.write(lambda connection: deletion.delete_flows(connection, [flow])) == [flow]
