"""Pauses of runs that keep a journal: resumed, suspended and cancelled by others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace.client.port import Command
from headrace.model import entries
from headrace.model.clock import iso
from headrace.server.store import answered, flow_runs, journals
from headrace.server.store.database import Database
from tests.server.serving import Api

from .test_proposals import JOURNAL, NOON_US, RUN, journaled, running, status_of

DEPLOYMENT = "0197a000-00d0-7000-8000-000000000001"
KEYS = {"schema": "pause-who-schema", "response": "pause-who-response"}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "default": 0}},
    "required": ["name"],
}


def asks_who(run: str = RUN) -> entries.Input:
    """Return the record of what a run asks for."""
    return entries.Input(run, NOON_US + 2, KEYS["schema"], msgspec.json.encode(SCHEMA).decode())


def paused(t: int, name: str | None = None, **details: Any) -> entries.State:
    """Return the record of a pause."""
    return entries.State(RUN, NOON_US + t, "PAUSED", name, details=details)


def suspended(t: int = 3, **details: Any) -> entries.State:
    """Return the record of a suspension."""
    return paused(t, "Suspended", pause_reschedule=True, **details)


def deploy(database: Database) -> None:
    """Make the run one of a deployment."""
    database.write(lambda connection: flow_runs.change(connection, RUN, {"deployment_id": DEPLOYMENT}))


def commands(database: Database) -> list[Command]:
    """Return what was asked of the run's process."""
    with database.read() as connection:
        return journals.commands(connection, JOURNAL, 0)


def ship(api: Api, database: Database, *records: entries.Entry) -> None:
    """Send what comes next of the journal."""
    with database.read() as connection:
        at = journals.offset(connection, JOURNAL)
    data = b"".join(entries.encode(record) + b"\n" for record in records)
    assert api.put(f"/journals/{JOURNAL}", params={"offset": at}, content=data).status_code == 200


def test_a_paused_run_is_told_what_it_asked_for(api: Api, database: Database) -> None:
    """Its process gets a command with the input; the state is Running at once, and its own word follows."""
    pause = paused(3, pause_key="who", run_input_keyset=KEYS)
    journaled(database, running(1), asks_who(), pause)
    assert msgspec.json.decode(api.get(f"/flow_runs/{RUN}/input/{KEYS['schema']}").text) == SCHEMA
    for given, field in (({}, "name"), ({"name": 7}, "name"), ({"name": "Ada", "age": "old"}, "age")):
        refused = api.post(f"/flow_runs/{RUN}/resume", json={"run_input": given})
        assert status_of(refused) == (200, "REJECT")
        assert field in refused.json()["details"]["reason"]
    assert commands(database) == []
    answer = api.post(f"/flow_runs/{RUN}/resume", json={"run_input": {"name": "Ada"}})

    assert status_of(answer) == (201, "ACCEPT")
    [command] = commands(database)
    assert (command.action, command.flow_run_id) == ("resume", RUN)
    assert command.payload == {"paused": pause.t, "key": "who", "input": {"name": "Ada"}}
    assert "127.0.0.1" in (command.who or "")
    assert api.get(f"/flow_runs/{RUN}/input/{KEYS['response']}").text == '{"name":"Ada"}'
    assert status_of(api.post(f"/flow_runs/{RUN}/resume")) == (200, "ABORT")
    ship(api, database, running(9_000_000))
    told = api.get(f"/flow_runs/{RUN}").json()
    assert (told["state_name"], told["run_count"]) == ("Running", 1)
    assert [each["rank"] for each in told["state_history"]] == ["fact", "fact", "fact", "proposal", "fact"]
    assert told["empirical_policy"]["pause_keys"] == ["who"]


def test_a_second_answer_takes_the_place_of_the_first(api: Api, database: Database) -> None:
    """A run that could not use an answer pauses again, under the same key."""
    journaled(database, running(1), asks_who(), paused(3, pause_key="who", run_input_keyset=KEYS))
    api.post(f"/flow_runs/{RUN}/resume", json={"run_input": {"name": "A da"}})
    ship(api, database, paused(9_000_000, pause_key="who", run_input_keyset=KEYS))
    assert api.state_of(RUN) == ("PAUSED", "Paused")
    answer = api.post(f"/flow_runs/{RUN}/resume", json={"run_input": {"name": "Ada"}})

    assert status_of(answer) == (201, "ACCEPT")
    assert [command.payload["paused"] for command in commands(database)] == [NOON_US + 3, NOON_US + 9_000_000]
    assert api.get(f"/flow_runs/{RUN}/input/{KEYS['response']}").text == '{"name":"Ada"}'


def test_a_state_of_running_resumes_too_unless_input_is_asked_for(api: Api, database: Database) -> None:
    """As clients do that know no resume; what is asked for cannot be passed over."""
    journaled(database, running(1), asks_who(), paused(3, pause_key="who", run_input_keyset=KEYS))
    assert status_of(api.propose("flow_runs", RUN, "RUNNING")) == (200, "REJECT")
    ship(api, database, running(4), paused(5, pause_key="1"))
    assert status_of(api.propose("flow_runs", RUN, "RUNNING")) == (201, "ACCEPT")

    assert [command.payload["key"] for command in commands(database)] == ["1"]


def test_a_pause_that_is_over_is_left_to_its_process(api: Api, database: Database) -> None:
    """It says itself how it goes on; nobody writes a state for it."""
    journaled(database, running(1), paused(3, pause_timeout=iso(NOON_US + 1_000_000)))
    api.clock.pass_s(10)
    answer = api.post(f"/flow_runs/{RUN}/resume")

    assert status_of(answer) == (200, "REJECT")
    assert "timed out" in answer.json()["details"]["reason"]
    assert (api.state_of(RUN), commands(database)) == (("PAUSED", "Paused"), [])


def test_a_running_run_is_asked_to_suspend(api: Api, database: Database) -> None:
    """It stays Running until its process says otherwise: that may take a while, and it holds its slots."""
    journaled(database, running(1))
    details = {"pause_reschedule": True, "pause_timeout": iso(NOON_US + 60_000_000)}
    assert status_of(api.propose("flow_runs", RUN, "PAUSED", name="Suspended", state_details=details)) == (
        200,
        "ABORT",
    )
    deploy(database)
    answer = api.propose("flow_runs", RUN, "PAUSED", name="Suspended", state_details=details)

    assert status_of(answer) == (200, "ACCEPT")
    assert answer.json()["state"]["type"] == "RUNNING"
    assert api.state_of(RUN) == ("RUNNING", "Running")
    [command] = commands(database)
    assert command.action == "suspend"
    assert command.payload.keys() == {"pause_timeout"}


def test_a_suspended_run_is_planned_as_another_attempt(api: Api, database: Database) -> None:
    """Nobody is told: there is no process. The claim knows what was answered, and it is the same try."""
    journaled(database, running(1), asks_who(), suspended(pause_key="who", run_input_keyset=KEYS))
    deploy(database)
    assert status_of(api.propose("flow_runs", RUN, "RUNNING", state_details={})) == (200, "REJECT")
    assert status_of(api.post(f"/flow_runs/{RUN}/resume", json={"run_input": {"age": 1}})) == (200, "REJECT")
    answer = api.post(f"/flow_runs/{RUN}/resume", json={"run_input": {"name": "Ada"}})

    assert status_of(answer) == (201, "ACCEPT")
    told = api.get(f"/flow_runs/{RUN}").json()
    assert (told["state_type"], told["state_name"]) == ("SCHEDULED", "Resuming")
    assert told["next_scheduled_start_time"] is not None
    assert told["state_history"][-1]["attempt"] == 2
    assert commands(database) == []
    with database.read() as connection:
        row = flow_runs.row_of(connection, RUN)
        assert row is not None
        assert answered.pauses(connection, row) == {"who": {"name": "Ada"}}
        assert row["holds_slot"] is False
    ship(api, database, running(9_000_000))  # whatever the first attempt still says
    assert api.state_of(RUN) == ("SCHEDULED", "Resuming")


def test_a_suspended_run_that_nobody_asked_anything_is_known_to_go_on(api: Api, database: Database) -> None:
    """Its key is answered with nothing."""
    journaled(database, running(1), suspended(pause_key="0"))
    deploy(database)
    assert status_of(api.propose("flow_runs", RUN, "RUNNING")) == (200, "ABORT")
    assert status_of(api.post(f"/flow_runs/{RUN}/resume")) == (201, "ACCEPT")

    with database.read() as connection:
        row = flow_runs.row_of(connection, RUN)
        assert row is not None
        assert answered.pauses(connection, row) == {"0": None}


@pytest.mark.parametrize(("type", "status"), [("CANCELLING", "REJECT"), ("CANCELLED", "ACCEPT")])
def test_a_suspended_run_is_cancelled_at_once(api: Api, database: Database, type: str, status: str) -> None:
    """There is no process to wait for."""
    journaled(database, running(1), suspended())
    answer = api.propose("flow_runs", RUN, type)

    assert status_of(answer) == (201, status)
    assert (api.state_of(RUN), commands(database)) == (("CANCELLED", "Cancelled"), [])


def test_a_suspended_run_that_is_resumed_too_late_has_failed(api: Api, database: Database) -> None:
    """No process could say so."""
    journaled(database, running(1), suspended(pause_timeout=iso(NOON_US + 1_000_000)))
    deploy(database)
    api.clock.pass_s(10)
    answer = api.post(f"/flow_runs/{RUN}/resume")

    assert status_of(answer) == (201, "REJECT")
    assert api.state_of(RUN) == ("FAILED", "Failed")


def test_a_run_keeps_nothing_for_another_one(api: Api, database: Database) -> None:
    """What a journal says of runs that are not its own, and what is too long, is counted and kept nowhere."""
    other = api.flow_run()["id"]
    journaled(database, running(1))
    ship(api, database, asks_who(other), entries.Input(RUN, NOON_US, "k" * 501, "1"), asks_who(RUN))

    assert api.get(f"/flow_runs/{other}/input/{KEYS['schema']}").status_code == 404
    assert api.get(f"/flow_runs/{RUN}/input/{KEYS['schema']}").status_code == 200
    assert api.get(f"/journals/{JOURNAL}").json()["torn"] == 2


def test_an_answer_is_known_when_the_history_forgot_its_question(api: Api, database: Database) -> None:
    """A run of many tries drops states from the middle; the answers stay."""
    journaled(database, running(1), asks_who(), paused(3, pause_key="who", run_input_keyset=KEYS))
    api.post(f"/flow_runs/{RUN}/resume", json={"run_input": {"name": "Ada"}})
    later = [
        each
        for number in range(120)
        for each in (
            running(9_000_000 + 2 * number),
            entries.State(RUN, NOON_US + 9_000_001 + 2 * number, "SCHEDULED"),
        )
    ]
    ship(api, database, *later)

    with database.read() as connection:
        row = flow_runs.row_of(connection, RUN)
        assert row is not None
        kept = dict(row) | {"history": None}
        assert answered.pauses(connection, row) == {"who": {"name": "Ada"}}
        assert answered.pauses(connection, kept) == {"who": {"name": "Ada"}}


def test_a_run_that_is_to_go_on_is_cancelled_before_it_does(api: Api, database: Database) -> None:
    """Whatever its earlier attempt told of its process: that one is gone."""
    journaled(database, running(1), suspended(pause_key="0"))
    deploy(database)
    api.patch(f"/flow_runs/{RUN}", json={"infrastructure_pid": "host:7"})
    assert status_of(api.post(f"/flow_runs/{RUN}/resume")) == (201, "ACCEPT")
    answer = api.propose("flow_runs", RUN, "CANCELLING")

    assert status_of(answer) == (201, "REJECT")
    assert api.state_of(RUN) == ("CANCELLED", "Cancelled")
