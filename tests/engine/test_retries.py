"""Retries: how often, after how long, and when not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from headrace import flow, task
from headrace.tasks import exponential_backoff
from headrace.testing import Harness, headrace_test_harness

from .conftest import steps


class Fails:
    """Fails some times, then returns its count of calls."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.times:
            raise ValueError(f"failure {self.calls}")
        return self.calls


def named(fn: Any, kind: str) -> Any:
    """Return sync or async code that calls ``fn``."""

    def sync_body() -> Any:
        return fn()

    async def async_body() -> Any:
        return fn()

    return sync_body if kind == "sync" else async_body


def call(thing: Any, **options: Any) -> Any:
    """Call a flow or task, sync or async."""
    found = thing(**options)
    return asyncio.run(found) if thing.isasync else found


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("make", [flow, task])
def test_a_failure_is_tried_again_until_it_succeeds(make: Any, kind: str, ran: Harness) -> None:
    """Each wait and each new try is a state of its own; the run is one run."""
    assert call(make(name="r", retries=3)(named(Fails(2), kind))) == 3

    (run,) = ran.runs()
    assert steps(run) == [
        "Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Completed",
    ]  # fmt: skip
    assert run.run_count == 3


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("make", [flow, task])
def test_a_run_fails_for_good_when_its_retries_are_used_up(make: Any, kind: str, ran: Harness) -> None:
    """Row 36 of the verdicts: the last failure is the one that is shown and raised."""
    with pytest.raises(ValueError, match="failure 2"):
        call(make(name="r", retries=1)(named(Fails(9), kind)))

    (run,) = ran.runs()
    assert steps(run) == ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]
    assert run.run_count == 2
    waiting = run.history[2]
    assert "Attempt 1 of 2 failed: ValueError: failure 1" in (waiting.message or "")


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note how long retries would wait, and do not."""
    import headrace.engine.async_pauses as async_pauses
    import headrace.engine.pauses as pauses

    taken: list[float] = []

    async def nap(seconds: float) -> None:
        taken.append(seconds)

    class Time:
        sleep = staticmethod(taken.append)

    class Asyncio:
        def __getattr__(self, name: str) -> Any:
            return nap if name == "sleep" else getattr(asyncio, name)

    monkeypatch.setattr(pauses, "time", Time)
    monkeypatch.setattr(async_pauses, "asyncio", Asyncio())
    return taken


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (2, [2, 2, 2]),
        (0.5, [0.5, 0.5, 0.5]),
        ([1, 5], [1, 5, 5]),
        ([], [0, 0, 0]),
        (exponential_backoff(10), [10, 20, 40]),
        (lambda retries: [retries] * retries, [3, 3, 3]),
        (None, [0, 0, 0]),
    ],
)
def test_the_delay_is_a_number_a_list_or_a_function(
    kind: str, delay: Any, expected: list[float], naps: list[float], ran: Harness
) -> None:
    """A list's last delay holds for all further retries; the state says when the run goes on."""
    with pytest.raises(ValueError, match="failure 4"):
        call(task(retries=3, retry_delay_seconds=delay)(named(Fails(9), kind)))

    (run,) = ran.runs()
    assert naps == expected
    waits = [row for row in run.history if row.name == "AwaitingRetry"]
    assert all("scheduled_time" in (row.details or {}) for row in waits)


def test_a_flows_delay_may_be_a_list_too(naps: list[float]) -> None:
    """As a task's."""
    assert call(flow(retries=2, retry_delay_seconds=[1, 2])(named(Fails(2), "sync"))) == 3
    assert naps == [1, 2]


def test_jitter_spreads_delays_upwards(naps: list[float]) -> None:
    """Each delay lies between itself and itself times one plus the factor."""
    with pytest.raises(ValueError, match="failure"):
        call(task(retries=40, retry_delay_seconds=10, retry_jitter_factor=0.5)(named(Fails(99), "sync")))

    assert len(set(naps)) > 1
    assert all(10 <= nap <= 15 for nap in naps)


def test_a_condition_decides_whether_a_failure_is_worth_another_try(ran: Harness) -> None:
    """It is asked with the task, the run and the failed state; an error of its own means no."""
    asked: list[Any] = []

    def worth(task_: Any, run: Any, state: Any) -> bool:
        asked.append((task_.name, run.run_count, state.is_failed(), str(state.data)))
        return run.run_count < 2

    def broken(*_: Any) -> bool:
        raise RuntimeError("condition")

    with pytest.raises(ValueError, match="failure 2"):
        call(task(name="t", retries=5, retry_condition_fn=worth)(named(Fails(9), "sync")))
    with pytest.raises(ValueError, match="failure 1"):
        call(task(name="u", retries=5, retry_condition_fn=broken)(named(Fails(9), "sync")))

    assert asked == [("t", 1, True, "failure 1"), ("t", 2, True, "failure 2")]
    assert any("retry_condition_fn raised" in line and "condition" in line for line in ran.logs())


def test_a_condition_may_look_at_the_error_by_the_states_result() -> None:
    """The field's way of asking: ``state.result()`` raises it."""

    def worth(_task: Any, _run: Any, state: Any) -> bool:
        try:
            state.result()
        except KeyError:
            return False
        except ValueError:
            return True
        return False

    fails = Fails(1)
    assert call(task(retries=1, retry_condition_fn=worth)(named(fails, "sync"))) == 2


def test_a_returned_failure_is_tried_again_too(ran: Harness) -> None:
    """A Failed state is a failure, whoever made it."""
    from headrace.states import Failed

    calls: list[int] = []

    @task(retries=1)
    def says_no() -> Any:
        calls.append(1)
        return Failed(message="no") if len(calls) == 1 else "yes"

    assert says_no() == "yes"
    assert steps(ran.runs()[0])[-2:] == ["Retrying", "Completed"]


def test_exits_and_interrupts_are_not_tried_again(ran: Harness) -> None:
    """Whoever calls ``sys.exit`` or presses Ctrl-C wants the run to end."""
    for error in (SystemExit(3), KeyboardInterrupt()):

        def body(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            flow(body, name="f").with_options(retries=5, validate_parameters=False)()

    assert [steps(run) for run in ran.flow_runs("f")] == [
        ["Pending", "Running", "Failed"],
        ["Pending", "Running", "Interrupted"],
    ]


def test_parameters_that_do_not_fit_are_not_tried_again(ran: Harness) -> None:
    """They would not fit the next time either."""
    from headrace.exceptions import ParameterTypeError

    @flow(retries=3)
    def f(x: int) -> None:
        return None

    with pytest.raises(ParameterTypeError):
        f("text")  # type: ignore[arg-type]

    assert steps(ran.runs()[0]) == ["Pending", "Failed"]


def test_settings_give_the_defaults() -> None:
    """A decorator that says nothing takes the settings'; one that says 0 means 0."""
    with headrace_test_harness(
        logging_console=False,
        task_default_retries=1,
        flow_default_retries=2,
        task_default_retry_delay_seconds=0.0,
    ):
        assert call(task(named(Fails(1), "sync"))) == 2
        assert call(flow(named(Fails(2), "sync"))) == 3
        assert task(named(Fails(1), "sync")).retries == 1
        with pytest.raises(ValueError, match="failure 1"):
            call(task(retries=0)(named(Fails(1), "sync")))


def test_retried_subflows_and_their_parent_count_by_themselves(ran: Harness) -> None:
    """A parent that is tried again calls its children anew."""
    fails = Fails(1)

    @task(name="t")
    def t() -> int:
        return 1

    @flow(name="parent", retries=1)
    def parent() -> int:
        t()
        return fails()

    assert parent() == 2
    assert len(ran.task_runs("t")) == 2
    assert len(ran.flow_runs("parent")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "retries is -1"),
        ({"retry_jitter_factor": -0.1}, "retry_jitter_factor is -0.1"),
        ({"retry_delay_seconds": [0] * 51}, "at most 50"),
        ({"timeout_seconds": -1}, "timeout_seconds is -1"),
    ],
)
def test_numbers_that_cannot_be_are_refused_where_they_are_written(options: Any, message: str) -> None:
    """At the decorator, not in the middle of a run."""
    with pytest.raises(ValueError, match=message):
        task(**options)(lambda: None)


def test_the_wait_is_long_enough(ran: Harness) -> None:
    """The next try begins no sooner than the state said."""
    call(flow(retries=1, retry_delay_seconds=0.05)(named(Fails(1), "sync")))

    (run,) = ran.runs()
    waiting, again = run.history[2], run.history[3]
    assert timedelta(microseconds=again.t - waiting.t) >= timedelta(seconds=0.05)
