"""``timeout_seconds``: the run is Failed, named TimedOut, wherever its code stood."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from typing import Any

import pytest

from headrace import flow, task
from headrace.exceptions import FlowRunTimeout, TaskRunTimeout
from headrace.testing import Harness

from .conftest import evidence, steps

LIMIT = 0.05

pytestmark = pytest.mark.timeout(30, method="thread")  # the other method takes the alarm for itself


def blocks() -> None:
    """Wait for what never comes, in one call into C."""
    threading.Event().wait(5)


def spins() -> None:
    """Keep the interpreter busy."""
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        pass


@pytest.mark.parametrize("body", [blocks, spins])
def test_sync_code_in_the_main_thread_is_interrupted(body: Any, ran: Harness) -> None:
    """Blocking calls too; the error tells the limit, its traceback where the code stood."""
    started = time.monotonic()
    with pytest.raises(FlowRunTimeout, match=r"passed its timeout of 0\.05 s") as caught:
        flow(body, name="slow", timeout_seconds=LIMIT)()

    (run,) = ran.runs()
    assert time.monotonic() - started < 4
    assert isinstance(caught.value, TimeoutError)
    assert steps(run) == ["Pending", "Running", "TimedOut"]
    assert run.state is not None and run.state.details is not None
    assert run.state.type == "FAILED"
    assert run.state.details["evidence"]["timeout_seconds"] == LIMIT
    assert f"in {body.__name__}" in evidence(run)["traceback"]
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_sync_code_in_a_thread_is_interrupted_between_two_steps(ran: Harness) -> None:
    """A submitted task has no alarm; the error is raised in its thread."""

    @task(name="slow", timeout_seconds=LIMIT)
    def slow() -> None:
        spins()

    @flow
    def f() -> None:
        with pytest.raises(TaskRunTimeout):
            slow.submit().result(timeout=15)

    f()

    assert steps(ran.task_runs("slow")[0]) == ["Pending", "Running", "TimedOut"]


def test_async_code_is_cancelled(ran: Harness) -> None:
    """At its next await."""

    @flow(name="slow", timeout_seconds=LIMIT)
    async def slow() -> None:
        await asyncio.sleep(5)

    with pytest.raises(FlowRunTimeout):
        asyncio.run(slow())

    assert steps(ran.runs()[0]) == ["Pending", "Running", "TimedOut"]
    assert "in slow" in evidence(ran.runs()[0])["traceback"]


def test_an_async_caller_goes_on_after_a_childs_timeout() -> None:
    """The cancellation is spent: it does not strike the caller at its next await."""

    @task(timeout_seconds=LIMIT)
    async def slow() -> None:
        await asyncio.sleep(5)

    @flow
    async def f() -> str:
        with pytest.raises(TaskRunTimeout):
            await slow()
        await asyncio.sleep(0)
        task_ = asyncio.current_task()
        assert task_ is not None
        assert getattr(task_, "cancelling", lambda: 0)() == 0
        return "went on"

    assert asyncio.run(f()) == "went on"


@pytest.mark.parametrize("limit", [{"outer": LIMIT, "inner": 20}, {"outer": 20, "inner": LIMIT}])
def test_nested_limits_strike_whoever_they_belong_to(limit: dict[str, float], ran: Harness) -> None:
    """An outer limit ends the inner run too, which then did not time out itself."""

    @flow(name="inner", timeout_seconds=limit["inner"])
    def inner() -> None:
        blocks()

    @flow(name="outer", timeout_seconds=limit["outer"])
    def outer() -> str:
        inner()
        return "not reached"

    with pytest.raises(FlowRunTimeout, match=r"passed its timeout of 0\.05 s"):
        outer()

    (inside,) = ran.flow_runs("inner")
    (outside,) = ran.flow_runs("outer")
    assert inside.state is not None and outside.state is not None
    if limit["outer"] == LIMIT:
        assert (inside.state.name, outside.state.name) == ("Cancelled", "TimedOut")
        assert "timeout" in (inside.state.message or "")
    else:
        assert (inside.state.name, outside.state.name) == ("TimedOut", "Failed")


def test_code_that_swallows_the_error_is_late_all_the_same(ran: Harness) -> None:
    """``except BaseException`` does not make a run finish in time."""

    @flow(name="stubborn", timeout_seconds=LIMIT)
    def stubborn() -> str:
        with contextlib.suppress(BaseException):
            blocks()
        return "late"

    @flow(name="async-stubborn", timeout_seconds=LIMIT)
    async def async_stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        return "late"

    with pytest.raises(FlowRunTimeout):
        stubborn()
    with pytest.raises(FlowRunTimeout):
        asyncio.run(async_stubborn())

    assert [steps(run)[-1] for run in ran.runs()] == ["TimedOut", "TimedOut"]


def test_code_that_swallows_the_error_again_and_again_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop with a broad ``except`` in it does not go on for ever."""
    import headrace.engine.timeouts as timeouts

    monkeypatch.setattr(timeouts, "_AGAIN_SECONDS", 0.02)

    @flow(timeout_seconds=LIMIT)
    def loops() -> int:
        told = 0
        while told < 3:
            try:
                spins()
            except BaseException:
                told += 1
        return told

    with pytest.raises(FlowRunTimeout):
        loops()


def test_except_exception_does_not_swallow_the_error(ran: Harness) -> None:
    """User code that retries on any Exception ends in time."""

    @flow(timeout_seconds=LIMIT)
    def careless() -> None:
        while True:
            try:
                blocks()
            except Exception:
                continue

    with pytest.raises(FlowRunTimeout):
        careless()


def test_finally_blocks_run_when_time_is_over() -> None:
    """Resources are given back."""
    closed: list[str] = []

    @flow(timeout_seconds=LIMIT)
    def tidy() -> None:
        try:
            blocks()
        finally:
            closed.append("yes")

    with pytest.raises(FlowRunTimeout):
        tidy()
    assert closed == ["yes"]


def test_a_waiting_flow_is_interrupted_by_its_limit(ran: Harness) -> None:
    """Also while it waits for a future; what still runs is given up, or the limit would be none."""
    gate = threading.Event()

    @task(name="held")
    def held() -> None:
        gate.wait(10)

    @flow(name="waits", timeout_seconds=LIMIT)
    def waits() -> None:
        held.submit().result()

    started = time.monotonic()
    with pytest.raises(FlowRunTimeout):
        waits()
    assert time.monotonic() - started < 4

    gate.set()
    assert steps(ran.flow_runs("waits")[0])[-1] == "TimedOut"
    assert steps(ran.task_runs("held")[0])[-1] == "Cancelled"


def test_a_timed_out_run_is_tried_again(ran: Harness) -> None:
    """A timeout is a failure; each try has the whole limit."""
    calls: list[int] = []

    @task(name="once", timeout_seconds=0.2, retries=1)
    def once() -> str:
        calls.append(1)
        if len(calls) == 1:
            blocks()
        return "done"

    assert once() == "done"
    assert steps(ran.runs()[0]) == ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]


def test_code_that_ends_in_time_notices_nothing() -> None:
    """Hundreds of limits set and taken back, in the main thread and in others."""

    @task(timeout_seconds=20)
    def quick(n: int) -> int:
        return n

    @flow(timeout_seconds=20)
    def f() -> int:
        return sum(quick(n) for n in range(200)) + sum(quick.map(range(200)).result())

    assert f() == 2 * sum(range(200))


def test_an_alarm_of_the_users_own_is_left_alone() -> None:
    """Where SIGALRM is taken, the limit works as in a thread."""
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    mine = signal.getsignal(signal.SIGALRM)
    try:

        @flow(timeout_seconds=LIMIT)
        def f() -> None:
            spins()

        with pytest.raises(FlowRunTimeout):
            f()
        assert signal.getsignal(signal.SIGALRM) is mine
        assert rung == []
    finally:
        signal.signal(signal.SIGALRM, before)
