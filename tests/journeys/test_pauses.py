"""Pauses of real scripts: somebody else lets them go on, whatever happens to the server meanwhile."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.verdicts.house import House, Script, until
from tests.verdicts.server import Server

ASKS = """
    from headrace import flow, pause_flow_run
    from headrace.input import RunInput

    class Person(RunInput):
        name: str
        age: int = 0

    @flow
    def asks():
        person = pause_flow_run(wait_for_input=Person, timeout={timeout})
        print("told", type(person).__name__, person.name, person.age, flush=True)

    asks()
"""

WAITS = """
    from headrace import flow, pause_flow_run, resume_flow_run

    @flow
    def waits():
        try:
            pause_flow_run(timeout=60)
        finally:
            print("no longer", flush=True)

    waits()
"""

RESUMES = """
    import sys
    from headrace import resume_flow_run
    from headrace.errors import NotPausedError, RunInputError

    for given in ({}, {"name": "Ada", "age": "old"}):
        try:
            resume_flow_run(sys.argv[1], run_input=given)
        except RunInputError as error:
            print(error, flush=True)
    resume_flow_run(sys.argv[1], run_input={"name": "Ada", "age": 36})
    try:
        resume_flow_run(sys.argv[1], run_input={"name": "Ada"})
    except NotPausedError as error:
        print(error, flush=True)
"""


def until_paused(house: House, script: Script) -> str:
    """Wait until the script's run is on record as paused; return its id."""
    run = script.flow_run()
    house.until_state(run, lambda found: found["state_name"] == "Paused", "the run to be paused")
    return run


def names(run: dict[str, Any]) -> list[str]:
    """Return the names of a run's states that its own process told."""
    return [each["name"] for each in run["state_history"] if each["rank"] == "fact"]


def test_a_script_waits_for_a_form_that_somebody_fills_in_over_rest(house: House) -> None:
    """What does not fit is refused with the field's name; what fits arrives as the form's type."""
    script = house.start(ASKS.format(timeout=60))
    run = until_paused(house, script)
    refused = house.client.post(f"/flow_runs/{run}/resume", json={"run_input": {"age": 3}})
    assert (refused.status_code, refused.json()["status"]) == (200, "REJECT")
    assert "name" in refused.json()["details"]["reason"]
    answer = house.client.post(f"/flow_runs/{run}/resume", json={"run_input": {"name": "Ada"}})
    assert (answer.status_code, answer.json()["state"]["type"]) == (201, "RUNNING")
    script.until_said("told Person Ada 0")
    told = house.end_of(script)

    assert script.wait() == 0
    assert (told["state_name"], told["run_count"]) == ("Completed", 1)
    assert names(told) == ["Pending", "Running", "Paused", "Running", "Completed"]


def test_another_script_resumes_it(house: House) -> None:
    """``resume_flow_run`` says what does not fit and what is not paused any more."""
    script = house.start(ASKS.format(timeout=60))
    run = until_paused(house, script)
    other = house.start(RESUMES, run)

    assert other.wait() == 0, other.output()
    no_name, no_age, not_paused = other.output().splitlines()
    assert "name" in no_name
    assert "age" in no_age
    assert "Only a paused run can be resumed" in not_paused
    script.until_said("told Person Ada 36")
    assert house.end_of(script)["state_name"] == "Completed"


def test_a_script_that_nobody_resumes_has_failed(house: House) -> None:
    """After its timeout, with the error that says so."""
    script = house.start(ASKS.format(timeout=0.5))
    told = house.end_of(script)

    assert script.wait() == 1
    assert told["state_name"] == "Failed"
    assert "FlowPauseTimeout" in told["state"]["message"]


def test_a_paused_script_can_be_cancelled(house: House) -> None:
    """It ends as any other, its ``finally`` blocks run."""
    script = house.start(WAITS)
    run = until_paused(house, script)
    house.client.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLING"}})
    told = house.end_of(script, within=5.0)

    assert "no longer" in script.output()
    assert told["state_name"] == "Cancelled"


@pytest.mark.parametrize("victim", ["server", "companion"])
def test_a_pause_outlives_the_server_and_the_supervisor(
    own_server: Server, tmp_path_factory: pytest.TempPathFactory, victim: str
) -> None:
    """The run waits in its own process; whoever comes back hears the answer."""
    own_server.start()
    house = House(tmp_path_factory.mktemp("house"), own_server.url)
    try:
        script = house.start(WAITS)
        run = until_paused(house, script)
        if victim == "server":
            own_server.kill()
            own_server.start()
        else:
            script.companion().kill(signal.SIGKILL)
        assert house.client.post(f"/flow_runs/{run}/resume").status_code == 201
        script.until_said("no longer")
        told = house.end_of(script, within=5.0)
        assert told["state_name"] == "Completed"
        until(lambda: script.process.poll() == 0, "the script to end")
    finally:
        house.close()
