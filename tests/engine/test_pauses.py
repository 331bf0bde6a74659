"""Pauses as the run's own process lives them: what it writes down, what it waits for, what it returns."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest

from headrace import (
    apause_flow_run,
    asuspend_flow_run,
    flow,
    get_run_logger,
    pause_flow_run,
    suspend_flow_run,
    task,
)
from headrace.engine.driver import drive
from headrace.errors import FlowPauseTimeout, FlowRunTimeout, MissingContextError, Pause, PausedRun
from headrace.input import RunInput
from headrace.journal.reader import iterate
from headrace.journal.spool import Spool
from headrace.model import entries
from headrace.model.runs import Run
from headrace.testing import Harness

from .conftest import steps, wait_until

Answers = Callable[[Run], Any]


class Person(RunInput):
    """A form with a rule that no JSON schema tells."""

    name: str
    age: int = 0

    @pydantic.field_validator("name")
    @classmethod
    def _no_blanks(cls, value: str) -> str:
        if " " in value:
            raise ValueError("blanks are not allowed")
        return value


def ask(harness: Harness, action: str, run: str, payload: Any) -> None:
    """Put a request where the supervisor would."""
    (folder,) = Spool(harness.home).folders()
    path = folder.request(action, run)
    part = path.with_name("part")
    part.write_bytes(msgspec.json.encode({"action": action, "who": "Ada", "at": "noon", "payload": payload}))
    part.replace(path)


@contextmanager
def answering(harness: Harness, *answers: Any) -> Iterator[list[Run]]:
    """Answer the pauses of the only flow run one after the other, each with one of ``answers``."""
    seen: list[Run] = []

    def answer() -> None:
        since = 0
        for given in answers:
            wait_until(lambda since=since: _paused_after(harness, since) is not None)  # type: ignore[misc]
            run = _paused_after(harness, since)
            assert run is not None
            assert run.state is not None
            seen.append(run)
            since = run.state.t
            ask(harness, "resume", run.id, {"paused": since, "key": "any", "input": given})

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield seen
    finally:
        thread.join()


def _paused_after(harness: Harness, since: int) -> Run | None:
    for run in harness.flow_runs():
        if run.state is not None and run.state.type == "PAUSED" and run.state.t > since:
            return run
    return None


def details(run: Run) -> dict[str, Any]:
    """Return the details of a run's state."""
    assert run.state is not None
    return run.state.details or {}


@pytest.mark.parametrize("kind", ["sync", "async", "async by the sync name"])
def test_a_paused_run_waits_and_goes_on_as_running(ran: Harness, kind: str) -> None:
    """Its slots and process stay, and it is not counted as begun again."""

    @flow
    def plain() -> str:
        pause_flow_run()
        return "done"

    @flow
    async def through_a() -> str:
        await apause_flow_run()
        return "done"

    @flow
    async def through_the_sync_name() -> str:
        await pause_flow_run()  # type: ignore[func-returns-value]  # as users of the field write it
        return "done"

    with answering(ran, None) as seen:
        if kind == "sync":
            value = plain()
        else:
            value = asyncio.run(through_a() if kind == "async" else through_the_sync_name())

    assert value == "done"
    (run,) = ran.flow_runs()
    assert steps(run) == ["Pending", "Running", "Paused", "Running", "Completed"]
    assert run.run_count == 1
    assert (details(seen[0])["pause_key"], "pause_reschedule" in details(seen[0])) == ("0", False)
    assert "Resumed by Ada" in ran.logs()


def test_what_is_asked_for_is_written_down_and_the_answer_is_read(ran: Harness) -> None:
    """A form's schema and description go with the journal; the answer is a value of the form."""

    @flow
    def approve() -> Person:
        return pause_flow_run(wait_for_input=Person.with_initial_data("Who are you?", age=7))

    with answering(ran, {"name": "Ada"}) as seen:
        told = approve()

    assert (type(told).__name__, told.name, told.age) == ("Person", "Ada", 7)
    assert isinstance(told, Person)
    keys = details(seen[0])["run_input_keyset"]
    assert keys == {
        "schema": "pause-0-schema",
        "response": "pause-0-response",
        "description": "pause-0-description",
    }
    kept = {entry.key: msgspec.json.decode(entry.value) for entry in inputs_of(ran)}
    assert kept["pause-0-schema"]["properties"]["age"]["default"] == 7
    assert kept["pause-0-description"] == "Who are you?"


def inputs_of(harness: Harness) -> list[entries.Input]:
    """Return what runs asked to have kept."""
    (folder,) = Spool(harness.home).folders()
    return [entry for _, entry in iterate(folder.journal) if isinstance(entry, entries.Input)]


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        (str, "x", "x"),
        (int, "3", 3),
        (list[int], [1, 2], [1, 2]),
        (dict, {"a": 1}, {"a": 1}),
        (bool, True, True),
    ],
)
def test_a_plain_type_is_asked_for_as_the_field_value(
    ran: Harness, wanted: Any, given: Any, expected: Any
) -> None:
    """The form has one field; the flow gets what is in it."""

    @flow
    def approve() -> Any:
        return pause_flow_run(wait_for_input=wanted)

    with answering(ran, {"value": given}):
        assert approve() == expected
    assert msgspec.json.decode(inputs_of(ran)[0].value)["required"] == ["value"]


def test_an_answer_that_does_not_fit_is_told_and_asked_again(ran: Harness) -> None:
    """The run stays paused, says which field is wrong and why, and takes the next answer."""

    @flow
    def approve() -> str:
        return pause_flow_run(wait_for_input=Person).name

    with answering(ran, {"name": "A da"}, {"name": "Ada"}) as seen:
        assert approve() == "Ada"

    assert seen[1].state is not None
    assert "name: Value error, blanks are not allowed" in str(seen[1].state.message)
    assert steps(ran.flow_runs()[0]) == ["Pending", "Running", "Paused", "Paused", "Running", "Completed"]


def test_an_answer_to_an_earlier_pause_is_none_to_this_one(ran: Harness) -> None:
    """A supervisor that takes over writes old requests again."""
    gone_on = threading.Event()

    @flow
    def twice() -> list[str]:
        first = pause_flow_run(wait_for_input=str)
        (folder,) = Spool(ran.home).folders()
        (old,) = folder.path.glob("resume-*.json")
        again = old.read_bytes()

        def repeat() -> None:
            wait_until(lambda: _paused_after(ran, 0) is not None)
            old.write_bytes(again)
            gone_on.set()

        thread = threading.Thread(target=repeat)
        thread.start()
        try:
            return [first, pause_flow_run(wait_for_input=str, timeout=0.5)]
        finally:
            thread.join()

    with pytest.raises(FlowPauseTimeout), answering(ran, {"value": "first"}):
        twice()
    assert gone_on.is_set()


def test_nobody_answers_in_time(ran: Harness) -> None:
    """The run is Failed, and the error says what to do."""

    @flow
    def lonely() -> None:
        pause_flow_run(timeout=0.05)

    with pytest.raises(FlowPauseTimeout, match=r"within 0.05 s.*longer timeout"):
        lonely()
    (run,) = ran.flow_runs()
    assert steps(run) == ["Pending", "Running", "Paused", "Running", "Failed"]
    assert run.history[2].details is not None
    assert "pause_timeout" in run.history[2].details


def test_a_timeout_can_be_caught_to_go_on_without_an_answer() -> None:
    """Then the run is Running again."""

    @flow
    def patient() -> str:
        try:
            pause_flow_run(timeout=0.01, poll_interval=0.005)
        except FlowPauseTimeout:
            return "went on"
        return "answered"

    assert patient() == "went on"


def test_a_retry_asks_nothing_twice(ran: Harness) -> None:
    """What was answered in one try is known in the next, by the number of the pause or by its key."""
    tries: list[Any] = []

    @flow(retries=1)
    def approve() -> None:
        tries.append((pause_flow_run(wait_for_input=str), pause_flow_run(wait_for_input=int, key="n")))
        if len(tries) == 1:
            raise ValueError("once more")

    with answering(ran, {"value": "a"}, {"value": 1}):
        approve()

    assert tries == [("a", 1), ("a", 1)]
    (run,) = ran.flow_runs()
    assert steps(run).count("Paused") == 2
    assert run.run_count == 2


def test_only_flow_code_pauses() -> None:
    """Outside, in a task, in a forked child, and where nothing is recorded: an error that says so."""
    with pytest.raises(MissingContextError, match="no flow is running"):
        pause_flow_run()
    with pytest.raises(MissingContextError, match="no flow is running"):
        suspend_flow_run()

    @task
    def inner() -> None:
        pause_flow_run()

    @flow
    def outer() -> None:
        with pytest.raises(MissingContextError, match="in the task inner-0"):
            inner()

    outer()


def test_a_forked_child_does_not_pause_its_parents_run(ran: Harness) -> None:
    """The child never speaks for the run."""

    @flow
    def forks() -> int:
        pid = os.fork()
        if pid == 0:
            try:
                pause_flow_run()
            except MissingContextError:
                os._exit(7)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert forks() == 7
    assert steps(ran.flow_runs()[0]) == ["Pending", "Running", "Completed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout": 0}, "timeout is 0"),
        ({"key": ""}, "key is ''"),
        ({"key": "k" * 201}, "1 to 200"),
        ({"wait_for_input": "text"}, "no form can be made"),
        ({"wait_for_input": Callable[[], int]}, "no form can be made"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_run_pauses(
    ran: Harness, arguments: dict[str, Any], message: str
) -> None:
    """The run never gets to Paused."""

    @flow
    def pauses() -> None:
        pause_flow_run(**arguments)

    with pytest.raises((TypeError, ValueError), match=message):
        pauses()
    assert "Paused" not in steps(ran.flow_runs()[0])


def test_the_flows_own_timeout_counts_on_while_it_waits(ran: Harness) -> None:
    """It is TimedOut, and the pause is over."""

    @flow(timeout_seconds=0.2)
    def waits() -> None:
        pause_flow_run()

    with pytest.raises(FlowRunTimeout):
        waits()
    assert steps(ran.flow_runs()[0]) == ["Pending", "Running", "Paused", "TimedOut"]


# -- suspend


def deployed(definition: Any, **answered: Any) -> Any:
    """Run a flow as a run of a deployment; return what the engine knows of it."""
    run = definition._make_run((), {}, None)
    run.deployment_id = run.id
    run.answered = answered
    if definition.isasync:
        from headrace.engine.async_driver import drive_async

        asyncio.run(drive_async(run))
    else:
        drive(run)
    return run


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_suspended_run_ends_its_process_and_cleans_up(ran: Harness, kind: str) -> None:
    """``finally`` runs, ``except Exception`` does not, no hook is called, and the state is the journal's last word."""
    seen: list[str] = []

    @flow(on_failure=[lambda *_: seen.append("hook")], on_cancellation=[lambda *_: seen.append("hook")])
    def plain() -> None:
        try:
            suspend_flow_run(wait_for_input=Person, key="approve")
        except Exception:
            seen.append("swallowed")
        finally:
            seen.append("finally")

    @flow
    async def through_a() -> None:
        try:
            await asuspend_flow_run(wait_for_input=Person, key="approve")
        finally:
            seen.append("finally")

    run = deployed(plain if kind == "sync" else through_a)

    assert seen == ["finally"]
    assert isinstance(run.error, Pause)
    (told,) = ran.flow_runs()
    assert steps(told) == ["Pending", "Running", "Suspended"]
    assert details(told)["pause_reschedule"] is True
    assert details(told)["pause_key"] == "approve"
    assert details(told)["run_input_keyset"]["response"] == "pause-approve-response"
    assert any(line.startswith("Suspended. It waits without a process") for line in ran.logs())
    with pytest.raises(PausedRun):
        run.state.result()


def test_a_call_of_a_suspended_flow_ends_its_process() -> None:
    """With status 0: nothing went wrong."""
    from headrace.engine.outcome import hand_over

    @flow
    def suspends() -> None:
        suspend_flow_run()

    run = deployed(suspends)
    with pytest.raises(SystemExit) as ended:
        hand_over(run, False)
    assert ended.value.code == 0


def test_what_was_answered_before_the_process_began_is_returned_at_once() -> None:
    """The next attempt calls suspend again and goes on."""
    got: list[Any] = []

    @flow
    def approve() -> None:
        got.append(suspend_flow_run())
        got.append(suspend_flow_run(wait_for_input=Person, key="who").name)

    run = deployed(approve, **{"0": None, "who": {"name": "Ada"}})
    assert got == [None, "Ada"]
    assert run.state.is_completed()


def test_an_answer_that_fits_no_more_is_asked_for_again() -> None:
    """The form may have changed between the attempts."""

    @flow
    def approve() -> None:
        suspend_flow_run(wait_for_input=Person, key="who")

    run = deployed(approve, who={"age": "old"})
    assert run.state.name == "Suspended"


def test_a_script_and_a_subflow_cannot_be_suspended() -> None:
    """Nobody would start the one again; the other's process is its parent's."""

    @flow
    def script() -> None:
        suspend_flow_run()

    @flow
    def parent() -> None:
        script()

    with pytest.raises(MissingContextError, match="no deployment"):
        script()
    assert "is a subflow" in deployed(parent).state.message


def test_a_subflow_may_pause() -> None:
    """It is Paused, its parent Running."""
    with pytest.raises(FlowPauseTimeout):

        @flow
        def child() -> None:
            pause_flow_run(timeout=0.01)

        @flow
        def parent() -> None:
            child()

        parent()


@pytest.mark.parametrize("kind", ["task", "submitted", "subflow's task", "async task"])
def test_a_run_that_is_asked_to_suspend_does_so_at_its_next_task(ran: Harness, kind: str) -> None:
    """It goes on until then; what it began is waited for, and the pause's time is the asker's."""
    asked = {"pause_timeout": "2030-01-01T00:00:00Z"}
    reached: list[str] = []

    @task
    def step() -> None:
        reached.append("step")

    @task
    async def async_step() -> None:
        reached.append("step")

    def begin() -> None:
        ask(ran, "suspend", ran.flow_runs()[0].id, asked)
        reached.append("asked")

    @flow
    def inner() -> None:
        step()

    @flow
    def plain() -> None:
        step()
        begin()
        # the run looks every 50 ms at most, so it goes through some more tasks
        while True:
            if kind == "subflow's task":
                inner()
            elif kind == "submitted":
                step.submit()
            else:
                step()

    @flow
    async def through_a() -> None:
        begin()
        while True:
            await async_step()

    run = deployed(through_a if kind == "async task" else plain)

    assert run.state.name == "Suspended"
    told = ran.flow_runs()[0]
    assert str(told.state and told.state.message) == "It was suspended as asked by Ada at noon."
    assert details(told)["pause_timeout"] == asked["pause_timeout"]
    assert not any(each.is_open for each in ran.task_runs())
    assert {each.state.type for each in ran.flow_runs()[1:] if each.state} <= {"COMPLETED", "CANCELLED"}


@pytest.mark.parametrize("kind", ["flow", "task", "async flow"])
def test_a_run_that_waits_for_a_retry_is_suspended_meanwhile(ran: Harness, kind: str) -> None:
    """It need not sleep to the end."""

    @task(retries=1, retry_delay_seconds=3600 if kind == "task" else 0)
    def step() -> None:
        raise ValueError("no")

    @flow(retries=1, retry_delay_seconds=3600)
    def plain() -> None:
        step()

    @flow(retries=1, retry_delay_seconds=3600)
    async def through_a() -> None:
        raise ValueError("no")

    def await_retry() -> None:
        wait_until(lambda: any(run.state and run.state.name == "AwaitingRetry" for run in ran.runs()))
        ask(ran, "suspend", ran.flow_runs()[0].id, {})

    thread = threading.Thread(target=await_retry)
    thread.start()
    run = deployed(through_a if kind == "async flow" else plain)
    thread.join()

    assert run.state.name == "Suspended"


def test_a_script_is_not_looked_after_for_suspends(ran: Harness, tmp_path: Path) -> None:
    """Only a deployment's run can be suspended; a script's goes on."""

    @task
    def step() -> None:
        return None

    @flow
    def plain() -> str:
        get_run_logger().info("begun")
        ask(ran, "suspend", ran.flow_runs()[0].id, {})
        for _ in range(3):
            step()
        return "done"

    assert plain() == "done"
