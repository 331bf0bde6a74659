"""What proposals do to runs: states, counts, times, history, and the processes behind journals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace.model import entries
from headrace.model.clock import iso
from headrace.server import ingest
from headrace.server.store import claims, flow_runs, journals, serving
from headrace.server.store.database import Database
from tests.server.serving import NOON_US, Api

from .test_scheduled_runs import deployed, planned

JOURNAL = "01a20879-4912-75ac-8e3e-b5bcc94ae52f"
RUN = "01a20879-4918-755c-b0bb-7958c1f0f8a5"


def journaled(database: Database, *states: entries.Entry) -> None:
    """Take in a journal with one flow run in these states."""
    t = NOON_US
    opened = entries.Open(JOURNAL, t, (t * 1000, 0), 1, 1, "boot", "host")
    made = entries.FlowRun(RUN, t + 1, "etl", "brisk-otter")
    data = b"".join(entries.encode(entry) + b"\n" for entry in (opened, made, *states))
    ingest.append(database, JOURNAL, 0, data, now_us=t, leased=False)


def status_of(answer: Any) -> tuple[int, str]:
    """Return the HTTP status and the contract's."""
    return answer.status_code, answer.json()["status"]


def test_a_run_of_a_foreign_client_is_counted_and_timed(api: Api) -> None:
    """Pending, Running for 2 s, a retry, Running for 3 s, Completed."""
    run = api.flow_run(empirical_policy={"retries": 1, "retry_delay": 1})["id"]
    assert status_of(api.propose("flow_runs", run, "RUNNING")) == (201, "ACCEPT")
    api.clock.pass_s(2)
    assert status_of(api.propose("flow_runs", run, "FAILED", message="once")) == (201, "REJECT")
    assert api.state_of(run) == ("SCHEDULED", "AwaitingRetry")
    waiting = api.propose("flow_runs", run, "RUNNING")
    assert (*status_of(waiting), waiting.json()["details"]["delay_seconds"]) == (200, "WAIT", 1)
    api.clock.pass_s(1.5)
    api.propose("flow_runs", run, "RUNNING")
    api.clock.pass_s(3)
    api.propose("flow_runs", run, "COMPLETED")
    told = api.get(f"/flow_runs/{run}").json()

    assert (told["run_count"], round(told["total_run_time"], 3)) == (2, 5.0)
    assert told["end_time"] is not None
    assert None is told["next_scheduled_start_time"]
    assert [each["name"] for each in told["state_history"]] == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Running",
        "Completed",
    ]
    assert {("proposal", "server")} == {(each["rank"], each["source"]) for each in told["state_history"]}


def test_a_paused_run_goes_on_without_being_counted_again(api: Api) -> None:
    """Pause, resume with input, and the same pause cannot fire twice."""
    run = api.flow_run()["id"]
    api.propose("flow_runs", run, "RUNNING")
    keys = {"schema": "p-schema", "response": "p-response"}
    schema = msgspec.json.encode({"required": ["name"]}).decode()
    api.post(f"/flow_runs/{run}/input", json={"key": "p-schema", "value": schema})
    pause = {"pause_key": "p", "run_input_keyset": keys}
    api.propose("flow_runs", run, "PAUSED", state_details=pause)
    refused = api.post(f"/flow_runs/{run}/resume", json={"run_input": {}})
    assert status_of(refused) == (200, "REJECT")
    assert "name" in refused.json()["details"]["reason"]
    assert status_of(api.post(f"/flow_runs/{run}/resume", json={"run_input": {"name": "Ada"}})) == (
        201,
        "ACCEPT",
    )

    assert api.get(f"/flow_runs/{run}/input/p-response").text == '{"name":"Ada"}'
    told = api.get(f"/flow_runs/{run}").json()
    assert (
        told["state_type"],
        told["run_count"],
        told["empirical_policy"]["resuming"],
    ) == ("RUNNING", 1, False)
    assert status_of(api.propose("flow_runs", run, "PAUSED", state_details=pause)) == (200, "REJECT")
    assert status_of(api.post(f"/flow_runs/{run}/resume")) == (200, "ABORT")


def test_a_suspended_run_is_planned_again_when_it_is_resumed(api: Api) -> None:
    """Scheduled now, named Resuming."""
    run = api.flow_run(deployment_id=JOURNAL)["id"]
    api.propose("flow_runs", run, "RUNNING")
    api.propose("flow_runs", run, "PAUSED", name="Suspended", state_details={"pause_reschedule": True})
    answer = api.post(f"/flow_runs/{run}/resume")

    assert status_of(answer) == (201, "ACCEPT")
    assert api.state_of(run) == ("SCHEDULED", "Resuming")


def test_a_forced_state_stands_whatever_the_rules_say(api: Api) -> None:
    """Cancelled by force, then Running by force; the history says that it was force."""
    run = api.flow_run()["id"]
    api.propose("flow_runs", run, "COMPLETED")
    assert status_of(api.propose("flow_runs", run, "CANCELLED", force=True)) == (201, "ACCEPT")
    assert status_of(api.propose("flow_runs", run, "RUNNING", force=True)) == (201, "ACCEPT")

    ranks = [each["rank"] for each in api.get(f"/flow_runs/{run}").json()["state_history"]]
    assert ranks == ["proposal", "proposal", "forced", "forced"]


def test_the_same_transition_twice_is_made_once(api: Api) -> None:
    """A client that lost the answer asks again, and gets the state it made."""
    run = api.flow_run()["id"]
    details = {"transition_id": JOURNAL}
    first = api.propose("flow_runs", run, "RUNNING", state_details=details)
    again = api.propose("flow_runs", run, "RUNNING", state_details=details)

    assert [status_of(first), status_of(again)] == [(201, "ACCEPT"), (200, "REJECT")]
    assert first.json()["state"] == again.json()["state"]


def test_a_result_is_kept_and_given_back_untouched(api: Api) -> None:
    """Any JSON, and details that only the contract knows."""
    run = api.flow_run()["id"]
    data = {"storage_key": "k", "serializer": {"type": "pickle"}, "deep": [{"n": 10**25}]}
    api.propose("flow_runs", run, "COMPLETED", data=data, state_details={"cache_key": "c"})
    state = api.get(f"/flow_runs/{run}").json()["state"]

    assert (data, "c") == (state["data"], state["state_details"]["cache_key"])


def test_a_subflow_shows_in_its_parent(api: Api) -> None:
    """Its placeholder has its state, and is found as one."""
    parent = api.flow_run()
    placeholder = api.post(
        "/task_runs/", json={"flow_run_id": parent["id"], "task_key": "child", "dynamic_key": "0"}
    ).json()
    child = api.flow_run(flow="child", parent_task_run_id=placeholder["id"])
    api.clock.pass_s(1)
    api.propose("flow_runs", child["id"], "RUNNING")
    api.propose("flow_runs", child["id"], "FAILED", message="no")
    shown = api.get(f"/task_runs/{placeholder['id']}").json()
    told = api.get(f"/flow_runs/{child['id']}").json()

    assert (shown["state_name"], shown["state"]["message"]) == ("Failed", "no")
    assert [each["timestamp"] for each in told["state_history"]] == [
        each["timestamp"] for each in shown["state_history"]
    ]
    exists = {"task_runs": {"subflow_runs": {"exists_": True}}}
    assert [placeholder["id"]] == [run["id"] for run in api.post("/task_runs/filter", json=exists).json()]
    of_parent = {"flow_runs": {"parent_flow_run_id": {"any_": [parent["id"]]}}}
    assert [child["id"]] == [run["id"] for run in api.post("/flow_runs/filter", json=of_parent).json()]


def test_a_task_runs_only_in_a_running_flow(api: Api) -> None:
    """ABORT before, ACCEPT after; the flow's run count is noted."""
    run = api.flow_run()["id"]
    keys = {"flow_run_id": run, "task_key": "t", "dynamic_key": "0"}
    task = api.post("/task_runs/", json=keys).json()["id"]
    assert status_of(api.propose("task_runs", task, "RUNNING")) == (200, "ABORT")
    api.propose("flow_runs", run, "RUNNING")
    assert status_of(api.propose("task_runs", task, "RUNNING")) == (201, "ACCEPT")

    assert api.get(f"/task_runs/{task}").json()["flow_run_run_count"] == 1


def running(t: int) -> entries.State:
    """Return the record of a state."""
    return entries.State(RUN, NOON_US + t, "RUNNING")


@pytest.mark.parametrize("type", ["COMPLETED", "FAILED", "CRASHED", "PENDING", "RUNNING", "PAUSED"])
def test_nobody_else_speaks_for_a_run_in_a_journal(api: Api, database: Database, type: str) -> None:
    """ABORT, with the reason and the way out."""
    journaled(database, running(2))
    answer = api.propose("flow_runs", RUN, type)

    assert status_of(answer) == (200, "ABORT")
    assert "journal" in answer.json()["details"]["reason"]
    assert api.state_of(RUN) == ("RUNNING", "Running")


@pytest.mark.parametrize(
    ("type", "force", "status", "state"),
    [
        ("CANCELLING", False, "ACCEPT", "Cancelling"),
        ("CANCELLED", False, "REJECT", "Cancelling"),
        ("CANCELLED", True, "ACCEPT", "Cancelled"),
    ],
)
def test_asking_a_run_in_a_journal_to_end_reaches_its_process(
    api: Api, database: Database, type: str, force: bool, status: str, state: str
) -> None:
    """A command for its supervisor, with who asked and when; asked again, there is no second one."""
    journaled(database, running(2))
    api.clock.pass_s(5)
    answer = api.propose("flow_runs", RUN, type, force=force)
    api.propose("flow_runs", RUN, type)

    assert (201, status) == status_of(answer)
    assert state == api.state_of(RUN)[1]
    with database.read() as connection:
        [command] = journals.commands(connection, JOURNAL, 0)
    assert (command.action, command.flow_run_id) == ("cancel", RUN)
    assert "127.0.0.1" in (command.who or "")
    assert iso(command.asked_us or 0) <= iso(api.clock.now)


def test_a_run_that_was_asked_to_end_still_ends_as_its_journal_says(api: Api, database: Database) -> None:
    """The fact outranks the request; both are in the history."""
    journaled(database, running(2))
    api.propose("flow_runs", RUN, "CANCELLING")
    done = entries.encode(entries.State(RUN, NOON_US + 9_000_000, "COMPLETED")) + b"\n"
    with database.read() as connection:
        at = journals.offset(connection, JOURNAL)
    api.put(f"/journals/{JOURNAL}", params={"offset": at}, content=done)
    told = api.get(f"/flow_runs/{RUN}").json()

    assert told["state_name"] == "Completed"
    assert [each["rank"] for each in told["state_history"]] == ["fact", "fact", "proposal", "fact"]


def test_a_run_that_ended_in_its_journal_cannot_be_cancelled_or_crashed(api: Api, database: Database) -> None:
    """ABORT; and it starts again only where a worker could start it."""
    journaled(database, running(2), entries.State(RUN, NOON_US + 9, "FAILED", message="no"))

    for type in ("CANCELLING", "CANCELLED", "CRASHED", "SCHEDULED"):
        assert status_of(api.propose("flow_runs", RUN, type)) == (200, "ABORT")
    assert api.state_of(RUN) == ("FAILED", "Failed")


def in_pool(api: Api, database: Database, run: str) -> serving.Asker:
    """Put a run into a pool, as a run of a deployment; return a worker of ours that asks for it."""
    deployment = deployed(api)
    place = api.get(f"/flow_runs/{planned(api, deployment, 3600)}").json()
    names = ("deployment_id", "work_pool_id", "work_queue_id", "work_queue_name")
    columns = {name: place[name] for name in names}
    database.write(lambda connection: flow_runs.change(connection, run, columns))
    return serving.Asker(JOURNAL[:-4] + "0000", "ours", place["work_pool_id"], None, (), 9)


def given(api: Api, database: Database, asker: serving.Asker) -> list[str]:
    """Let a worker of ours claim; return the runs that it is given."""
    new_id = api.app.state.context.new_id
    [taken] = database.write(lambda c: claims.claim(c, [asker], api.clock(), new_id=new_id)).to
    return [claim.run.id for claim in taken]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("ended", ["FAILED", "CANCELLED"])
def test_a_run_that_ended_is_planned_again_and_taken_by_a_worker_of_ours(
    api: Api, database: Database, ended: str, force: bool
) -> None:
    """A new attempt, given once, whether it was asked for with or without force: what was decided before is over."""
    journaled(database, running(2), entries.State(RUN, NOON_US + 9, "FAILED"))
    if ended == "CANCELLED":
        api.propose("flow_runs", RUN, ended, force=True)
    asker = in_pool(api, database, RUN)
    answer = api.propose("flow_runs", RUN, "SCHEDULED", force=force)
    assert status_of(answer) == (201, "ACCEPT")

    assert given(api, database, asker) == [RUN]
    assert api.state_of(RUN) == ("PENDING", "Pending")
    assert given(api, database, asker) == []
    assert api.get(f"/flow_runs/{RUN}").json()["state_history"][-1]["attempt"] == 2


@pytest.mark.parametrize("force", [False, True])
def test_a_run_that_ended_is_planned_again_and_taken_by_a_client_of_the_contract(
    api: Api, database: Database, force: bool
) -> None:
    """Its attempt has no journal, so the client speaks for it; the first attempt stays in its history."""
    journaled(database, running(2), entries.State(RUN, NOON_US + 9, "FAILED"))
    before = api.get(f"/flow_runs/{RUN}").json()["state_history"]
    in_pool(api, database, RUN)
    api.propose("flow_runs", RUN, "SCHEDULED", force=force)
    for type, name in (("PENDING", "Pending"), ("PENDING", "Submitting"), ("RUNNING", "Running")):
        assert status_of(api.propose("flow_runs", RUN, type, name=name)) == (201, "ACCEPT")
    api.propose("flow_runs", RUN, "COMPLETED")
    told = api.get(f"/flow_runs/{RUN}").json()["state_history"]

    assert told[: len(before)] == before
    assert [(each["name"], each["attempt"]) for each in told[len(before) :]] == [
        (name, 2) for name in ("Scheduled", "Pending", "Submitting", "Running", "Completed")
    ]


def test_many_runs_are_asked_at_once(api: Api) -> None:
    """Each gets its own answer."""
    first, second = api.flow_run()["id"], api.flow_run()["id"]
    api.propose("flow_runs", first, "COMPLETED")
    answer = api.post("/flow_runs/bulk_set_state", json={"state": {"type": "CANCELLING"}}).json()

    assert {first: "ABORT", second: "ACCEPT"} == {
        each["flow_run_id"]: each["status"] for each in answer["results"]
    }
