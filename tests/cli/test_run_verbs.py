"""Runs that are tried again, suspended and resumed by command, on a real server."""

from __future__ import annotations

import pytest

from .conftest import Headrace, Place
from .recorded import Recorded
from .worked import Attempt


def begun(place: Place, inside: Headrace, **fields: object) -> Attempt:
    """Return a run of a deployment that a worker has begun."""
    name = place.deploy(**fields)
    inside("deployment", "run", name)
    (attempt,) = place.worker().claims()
    attempt.becomes("RUNNING")
    return attempt


def state_of(inside: Headrace, run: str) -> tuple[str, str]:
    """Return a run's type and name of state."""
    found = inside("flow-run", "inspect", run, "-o", "json").json
    return found["state_type"], found["state_name"]


@pytest.mark.parametrize("end", ["FAILED", "COMPLETED", "CRASHED", "CANCELLED"])
def test_an_ended_run_is_tried_again(place: Place, inside: Headrace, end: str) -> None:
    """Whatever its end; a worker gets it once more, as another attempt."""
    attempt = begun(place, inside)
    attempt.ends(end)
    done = inside("flow-run", "retry", attempt.run)
    state = state_of(inside, attempt.run)
    (again,) = place.worker().claims()

    assert done.code == 0
    assert "AwaitingRetry" in done.out
    assert state == ("SCHEDULED", "AwaitingRetry")
    assert (again.run, again.claim["attempt"]) == (attempt.run, 2)


def test_a_run_that_goes_on_is_not_tried_again(place: Place, inside: Headrace) -> None:
    """How to end it first is said."""
    attempt = begun(place, inside)
    done = inside("flow-run", "retry", attempt.run)

    assert (done.code, done.out) == (1, "")
    assert "headrace flow-run cancel" in done.err
    assert state_of(inside, attempt.run) == ("RUNNING", "Running")


def test_a_script_s_run_is_not_tried_again(home: object, inside: Headrace) -> None:
    """What to do instead is said."""
    recorded = Recorded(home, 1_790_000_000_000_000)  # type: ignore[arg-type]  # the fixture's path
    run = recorded.flow_run("etl", "brave-otter")
    recorded.end(run, "FAILED")
    done = inside("flow-run", "retry", "brave-otter")

    assert done.code == 1
    assert "Run its script once more" in done.err
    assert "headrace deploy" in done.err


def test_the_answer_to_a_retry_is_json_if_asked(place: Place, inside: Headrace) -> None:
    """As the contract has it."""
    attempt = begun(place, inside)
    attempt.ends("FAILED")
    answer = inside("flow-run", "retry", attempt.run, "-o", "json").json

    assert (answer["status"], answer["state"]["name"]) == ("ACCEPT", "AwaitingRetry")


def foreign(place: Place, inside: Headrace) -> str:
    """Return a run that a worker of the field's own carries out: it proposes states over HTTP."""
    run = inside("deployment", "run", place.deploy(), "-o", "json").json["id"]
    for type in ("PENDING", "RUNNING"):
        place.connection.post(f"/flow_runs/{run}/set_state", {"state": {"type": type}})
    return str(run)


def test_a_run_is_suspended_and_resumed(place: Place, inside: Headrace) -> None:
    """Who asked stands in its history, and what to do next is said."""
    run = foreign(place, inside)
    suspended = inside("flow-run", "suspend", run, "--timeout", "60")
    found = inside("flow-run", "inspect", run, "-o", "json").json
    resumed = inside("flow-run", "resume", run)

    assert (suspended.code, resumed.code) == (0, 0), suspended.err + resumed.err
    assert f"headrace flow-run resume {run}" in suspended.out
    assert found["state_name"] == "Suspended"
    assert "asked by" in found["state"]["message"]
    assert found["state"]["state_details"]["pause_reschedule"] is True
    assert found["state"]["state_details"]["pause_timeout"] is not None
    assert "is Resuming" in resumed.out
    assert state_of(inside, run) == ("SCHEDULED", "Resuming")


def test_a_run_of_a_worker_suspends_itself_when_it_is_asked(place: Place, inside: Headrace) -> None:
    """Its process is told, and ends; resumed, a worker gets the run as another attempt."""
    attempt = begun(place, inside)
    asked = inside("flow-run", "suspend", attempt.run)
    commands = [command.action for command in attempt.commands()]
    attempt.ends("PAUSED", name="Suspended", details={"pause_reschedule": True, "pause_key": "0"})
    suspended = state_of(inside, attempt.run)
    held = inside("work-pool", "slots", place.pool, "-o", "json").json["active_slots"]
    resumed = inside("flow-run", "resume", attempt.run)
    (again,) = place.worker().claims()

    assert (asked.code, resumed.code) == (0, 0), asked.err + resumed.err
    assert "was asked to suspend" in asked.out
    assert commands == ["suspend"]
    assert (suspended, held) == (("PAUSED", "Suspended"), 0)
    assert "is Resuming" in resumed.out
    assert (again.run, again.claim["attempt"]) == (attempt.run, 2)


def test_what_a_run_waits_for_is_given_with_resume(place: Place, inside: Headrace) -> None:
    """As JSON; what its schema does not take is refused by name, and the run goes on waiting."""
    run = foreign(place, inside)
    schema = '{"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}'
    place.connection.post(f"/flow_runs/{run}/input", {"key": "k-schema", "value": schema})
    details = {"run_input_keyset": {"schema": "k-schema", "response": "k-response"}, "pause_key": "k"}
    paused = {"type": "PAUSED", "name": "Paused", "state_details": details}
    place.connection.post(f"/flow_runs/{run}/set_state", {"state": paused})
    refused = inside("flow-run", "resume", run, "--input", '{"aproved": true}')
    still = state_of(inside, run)
    done = inside("flow-run", "resume", run, "--input", "-", stdin='{"approved": true}')

    assert (refused.code, refused.out, still[0]) == (1, "", "PAUSED")
    assert "approved" in refused.err
    assert (done.code, state_of(inside, run)[0]) == (0, "RUNNING")
    assert place.connection.get(f"/flow_runs/{run}/input/k-response") == {"approved": True}


def test_what_is_not_paused_is_not_resumed(place: Place, inside: Headrace) -> None:
    """The server's reason is shown; with JSON its whole answer."""
    run = foreign(place, inside)
    done = inside("flow-run", "resume", run)
    answer = inside("flow-run", "resume", run, "-o", "json")

    assert (done.code, done.out) == (1, "")
    assert "paused" in done.err
    assert (answer.code, answer.json["status"]) == (1, "ABORT")


def test_a_script_s_run_cannot_be_suspended(place: Place, inside: Headrace) -> None:
    """Nobody would start it again."""
    flow = place.connection.post("/flows/", {"name": place.flow})["id"]
    run = place.connection.post("/flow_runs/", {"flow_id": flow, "state": {"type": "RUNNING"}})["id"]
    done = inside("flow-run", "suspend", run)

    assert (done.code, done.out) == (1, "")
    assert "was not suspended" in done.err
    assert state_of(inside, run)[0] == "RUNNING"


@pytest.mark.parametrize(
    "arguments",
    [("resume", "x", "--input", "yes"), ("resume", "x", "--input", "[]"), ("suspend", "x", "--timeout", "0")],
)
def test_wrong_usage_is_told(inside: Headrace, arguments: tuple[str, ...]) -> None:
    """Before anything is asked of a server."""

    assert inside("flow-run", *arguments).code == 2
