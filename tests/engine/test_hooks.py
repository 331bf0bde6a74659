"""Hooks: called with what happened to a run, and unable to change it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace import flow, task
from headrace.states import Cancelled, Completed, Crashed
from headrace.testing import Harness

from .conftest import steps


@pytest.fixture
def called() -> list[tuple[Any, ...]]:
    """What hooks were called with."""
    return []


def noting(called: list[tuple[Any, ...]], name: str, *, wait: bool = False) -> Any:
    """Make a hook that notes its call; with ``wait`` an async one."""

    def hook(thing: Any, run: Any, state: Any) -> None:
        called.append((name, thing.name, run.name, run.run_count, state.name))

    async def async_hook(thing: Any, run: Any, state: Any) -> None:
        await asyncio.sleep(0)
        hook(thing, run, state)

    return async_hook if wait else hook


KINDS = ("on_running", "on_completion", "on_failure", "on_crashed", "on_cancellation")


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Completed(), "on_completion"),
        (ValueError("no"), "on_failure"),
        (Crashed(), "on_crashed"),
        (Cancelled(), "on_cancellation"),
        (SystemExit(2), "on_failure"),
        (SystemExit(0), "on_completion"),
        (KeyboardInterrupt(), "on_cancellation"),
    ],
)
def test_the_hooks_of_a_flows_end_are_called(
    called: list[Any], ending: Any, expected: str, is_async: bool, wait: bool
) -> None:
    """Those that fit its final state, sync and async hooks from sync and async flows."""

    def body() -> Any:
        if isinstance(ending, BaseException):
            raise ending
        return ending

    async def async_body() -> Any:
        return body()

    hooks = {kind: [noting(called, kind, wait=wait)] for kind in KINDS}
    f = flow(async_body if is_async else body, name="f", flow_run_name="r").with_options(**hooks)

    try:
        asyncio.run(f(return_state=True)) if is_async else f(return_state=True)
    except BaseException as error:
        assert error is ending or isinstance(error, KeyboardInterrupt)

    assert [name for name, *_ in called] == ["on_running", expected]
    assert called[0] == ("on_running", "f", "r", 1, "Running")


def test_the_hooks_of_a_task_are_called(called: list[Any]) -> None:
    """Failure hooks once, at the end; running hooks at each try."""

    @task(
        retries=1,
        on_running=[noting(called, "running")],
        on_failure=[noting(called, "failure"), noting(called, "failure too")],
        on_completion=[noting(called, "completion")],
    )
    def t() -> None:
        raise ValueError("no")

    t(return_state=True)

    assert [(name, count, state) for name, _, _, count, state in called] == [
        ("running", 1, "Running"),
        ("running", 2, "Retrying"),
        ("failure", 2, "Failed"),
        ("failure too", 2, "Failed"),
    ]


def test_hooks_can_be_added_by_decorators(called: list[Any]) -> None:
    """They are kept by with_options and by methods."""

    @flow
    def f() -> None:
        return None

    @f.on_completion
    def noted(*given: Any) -> None:
        called.append(given)

    @task
    def t() -> None:
        raise ValueError("no")

    t.on_failure(noted)

    class Shop:
        @task
        def buy(self) -> None:
            return None

        buy.on_completion(noted)

    f()
    f.with_options(name="other")()
    t(return_state=True)
    Shop().buy()
    assert len(called) == 4
    assert noted.__name__ == "noted"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_hook_that_raises_changes_nothing_but_the_log(
    called: list[Any], ran: Harness, is_async: bool
) -> None:
    """The next hook is called, the state stays, and the log names the hook and its error."""

    def breaks(*_: Any) -> None:
        raise RuntimeError("in the hook")

    async def async_body() -> int:
        return 1

    options = {"on_running": [breaks], "on_completion": [breaks, noting(called, "second")]}
    f = flow(async_body if is_async else lambda: 1, name="f", **options)

    assert (asyncio.run(f()) if is_async else f()) == 1  # type: ignore[arg-type]
    assert [name for name, *_ in called] == ["second"]
    assert steps(ran.runs()[0]) == ["Pending", "Running", "Completed"]
    lines = [line for line in ran.logs() if "hook breaks raised" in line]
    assert len(lines) == 2
    assert "RuntimeError: in the hook" in lines[0]


def test_an_async_hook_of_a_sync_flow_in_an_event_loop_is_awaited(called: list[Any], ran: Harness) -> None:
    """A sync subflow of an async flow has a loop running around it."""
    child = flow(lambda: 1, name="child", on_completion=[noting(called, "child", wait=True)])

    @flow
    async def parent() -> int:
        return child()

    assert asyncio.run(parent()) == 1
    assert [name for name, *_ in called] == ["child"]
    assert not [line for line in ran.logs() if "raised" in line]


def test_ctrl_c_in_a_hook_is_not_swallowed(ran: Harness) -> None:
    """The state that was earned stays; the interrupt goes on to the caller."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow(lambda: 1, name="f", on_completion=[interrupted])()
    with pytest.raises(KeyboardInterrupt):
        flow(lambda: 1, name="g", on_running=[interrupted])()

    assert steps(ran.flow_runs("f")[0])[-1] == "Completed"
    assert steps(ran.flow_runs("g")[0])[-1] == "Interrupted"


def test_failure_hooks_see_the_error_and_the_run(ran: Harness) -> None:
    """By the state's data or its result, and by the run's attributes."""
    seen: list[Any] = []

    def hook(flow_: Any, run: Any, state: Any) -> None:
        error = state.result(raise_on_failure=False)
        seen.append((type(error), run.id, run.parameters, run.state_type.value, run.flow_run is run))

    @flow(name="f", on_failure=[hook])
    def f(x: int) -> None:
        raise ValueError(x)

    f("3", return_state=True)

    assert seen == [(ValueError, ran.runs()[0].id, {"x": 3}, "FAILED", True)]


@pytest.mark.parametrize("make", [flow, task])
def test_hooks_that_are_no_list_of_functions_are_refused(make: Any) -> None:
    """A forgotten bracket is the usual mistake."""
    with pytest.raises(TypeError, match="as a list of functions"):
        make(on_failure=print)(lambda: None)
    with pytest.raises(TypeError, match="cannot be called"):
        make(on_failure=["notify"])(lambda: None)
