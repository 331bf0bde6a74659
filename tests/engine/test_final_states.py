"""The state that a flow or task earns by what it returns."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from headrace import flow, task
from headrace.exceptions import CancelledRun, CrashedRun, FailedRun, UpstreamTaskError
from headrace.states import Cancelled, Completed, Crashed, Failed, Paused, Pending, Running, Scheduled
from headrace.testing import Harness


@task
def fine() -> int:
    return 1


@task
def bad() -> int:
    raise ValueError("bad")


def state_of(body: Any) -> Any:
    """Return the final state of a flow with this body."""
    return flow(name="f")(body)(return_state=True)


@pytest.mark.parametrize(
    "value", [None, 0, "text", [], {}, [1, 2], (None,), ValueError("as a value"), object()]
)
def test_a_value_completes_the_run_and_is_returned(value: Any) -> None:
    """Whatever it is: an exception that is returned is a value too."""
    f = flow(lambda: value, name="f")

    assert f() is value
    state = f(return_state=True)
    assert state.is_completed()
    assert state.result() is value


def test_none_completes_a_flow_whose_tasks_failed() -> None:
    """A flow that returns nothing is judged by itself, not by tasks that nobody asked."""

    def body() -> None:
        bad(return_state=True)
        bad.submit()

    assert state_of(body).is_completed()


def test_a_returned_state_is_the_runs_own() -> None:
    """Its type, name and message; the caller gets its value, or its error."""

    def ends(state: Any) -> Any:
        return flow(lambda: state, name="f")

    assert ends(Completed(message="enough"))() is None
    assert ends(Completed(data=5, name="Enough"))() == 5
    state = ends(Completed(message="enough", name="Enough"))(return_state=True)
    assert (state.name, state.message, state.is_completed()) == ("Enough", "enough", True)
    with pytest.raises(FailedRun, match="how did this happen"):
        ends(Failed(message="how did this happen"))()
    with pytest.raises(ValueError, match="mine"):
        ends(Failed(data=ValueError("mine")))()
    with pytest.raises(CancelledRun):
        ends(Cancelled())()
    with pytest.raises(CrashedRun):
        ends(Crashed(message="gone"))()


def test_a_returned_state_that_is_no_end_fails_the_run() -> None:
    """A run that is over cannot be left open; the message says what it returned."""
    for given in (Pending(), Running(message="on it"), Paused(), Scheduled()):
        state = state_of(itertools.repeat(given).__next__)
        assert state.is_failed()
        assert f"It returned the state {given.name}" in state.message
    with pytest.raises(UpstreamTaskError, match="bad-0"):
        flow(lambda: fine.submit(wait_for=[bad.submit()]), name="f")()


def test_a_returned_future_decides() -> None:
    """The flow ends as its task did, and its caller gets the task's value or error."""
    assert flow(lambda: fine.submit(), name="f")() == 1
    assert state_of(lambda: fine.submit()).is_completed()
    assert state_of(lambda: bad.submit()).is_failed()
    with pytest.raises(ValueError, match="bad"):
        flow(lambda: bad.submit(), name="f")()


@pytest.mark.parametrize("kind", [list, tuple])
def test_returned_states_and_futures_decide_together(kind: Any) -> None:
    """Completed when all are; else cancelled before failed."""
    done, failed, cancelled, open_ = Completed(data=1), Failed(), Cancelled(), Pending()

    def together(*items: Any) -> Any:
        return state_of(lambda: kind(items))

    assert together(done, done).is_completed()
    assert together(done, done).message == "All states completed."
    assert together(done, failed).is_failed()
    assert together(done, failed, failed).message == "2/3 states failed."
    assert together(failed, cancelled).is_cancelled()
    assert together(failed, cancelled).message == "1/2 states cancelled."
    assert together(done, Crashed()).is_failed()
    assert together(done, open_).message == "1/2 states are not final."
    assert state_of(lambda: kind([fine.submit(), bad.submit()])).is_failed()
    assert state_of(lambda: kind([fine.submit(), fine.submit()])).is_completed()


def test_states_among_other_values_do_not_decide() -> None:
    """A dict, or a list that holds other things too, is a value."""

    def body() -> Any:
        return {"a": bad.submit(), "b": [fine.submit()]}

    state = state_of(body)
    assert state.is_completed()
    assert state.result()["a"].is_failed()
    assert state.result()["b"][0].result() == 1
    assert state_of(lambda: [1, Failed()]).is_completed()


def test_the_rules_hold_for_async_flows_and_for_tasks(ran: Harness) -> None:
    """One lifecycle carries all of them."""

    @flow
    async def af() -> Any:
        return Failed(message="so")

    @task(name="t")
    def t() -> Any:
        return Failed(message="so")

    assert asyncio.run(af(return_state=True)).is_failed()
    assert t(return_state=True).is_failed()
    with pytest.raises(FailedRun, match="so"):
        t()
    assert {run.state.name for run in ran.task_runs("t") if run.state} == {"Failed"}


def test_a_returned_state_is_not_changed() -> None:
    """The run gets a copy with its own time."""
    given = Completed(data=1)
    before = given.timestamp

    state = state_of(lambda: given)

    assert state is not given
    assert given.timestamp == before
    assert state.timestamp >= before
