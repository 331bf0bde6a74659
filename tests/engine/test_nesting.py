"""Flows in flows, tasks in flows, sync in async and the other way: who is whose child, and what each returns."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from headrace import flow, task
from headrace.runtime import flow_run, task_run
from headrace.testing import Harness

from .conftest import steps

ENDED_WELL = ["Pending", "Running", "Completed"]


@task(name="plain")
def plain(x: int) -> int:
    return x + 1


@task(name="awaited")
async def awaited(x: int) -> int:
    await asyncio.sleep(0)
    return x + 10


@flow(name="sync-child")
def sync_child(x: int) -> int:
    return plain(x)


@flow(name="async-child")
async def async_child(x: int) -> int:
    return await awaited(x)


def test_every_mixture_of_sync_and_async_nests(ran: Harness) -> None:
    """A sync parent runs async children by ``asyncio.run``; an async parent calls sync children as they are."""

    @flow(name="sync-parent")
    def sync_parent() -> list[int]:
        return [
            plain(0),
            sync_child(0),
            asyncio.run(async_child(0)),
            asyncio.run(awaited(0)),
            awaited.submit(0).result(),
        ]

    @flow(name="async-parent")
    async def async_parent() -> list[int]:
        return [
            plain(0),
            sync_child(0),
            await async_child(0),
            await awaited(0),
            awaited.submit(0).result(),
            plain.submit(0).result(),
        ]

    assert sync_parent() == [1, 1, 10, 10, 10]
    assert asyncio.run(async_parent()) == [1, 1, 10, 10, 10, 1]
    assert all(steps(run) == ENDED_WELL for run in ran.runs())
    parents = {run.entry.name: run.id for run in ran.flow_runs() if run.entry.parent is None}
    assert len(parents) == 2
    children = ran.flow_runs("sync-child") + ran.flow_runs("async-child")
    assert sorted(run.entry.parent for run in children) == sorted([*parents.values(), *parents.values()])


def test_a_task_belongs_to_the_innermost_flow(ran: Harness) -> None:
    """Its record names the subflow that called it, and counts its calls there."""

    @flow(name="outer")
    def outer() -> None:
        plain(1)
        sync_child(1)
        plain(2)

    outer()

    (parent,) = ran.flow_runs("outer")
    (child,) = ran.flow_runs("sync-child")
    owners = [(run.entry.flow_run, run.entry.dynamic_key, run.entry.name) for run in ran.task_runs("plain")]
    assert owners == [(parent.id, "0", "plain-0"), (child.id, "0", "plain-0"), (parent.id, "1", "plain-1")]


def test_subflows_gathered_in_one_loop_stay_children_of_their_caller(ran: Harness) -> None:
    """Each runs in its own asyncio task, and all know the same parent."""

    @flow(name="gathering")
    async def gathering() -> list[int]:
        return await asyncio.gather(*(async_child(n) for n in range(20)))

    assert asyncio.run(gathering()) == [n + 10 for n in range(20)]
    (parent,) = ran.flow_runs("gathering")
    assert {run.entry.parent for run in ran.flow_runs("async-child")} == {parent.id}
    assert len({run.entry.dynamic_key for run in ran.flow_runs("async-child")}) == 20


def test_tasks_in_tasks_belong_to_the_flow(ran: Harness) -> None:
    """A task that calls a task is a caller like any other."""

    @task(name="outer")
    def outer() -> tuple[str, int]:
        before = task_run.name
        value = plain(1)
        assert task_run.name == before
        return before, value

    @flow(name="nested")
    def nested() -> Any:
        return outer()

    assert nested() == ("outer-0", 2)
    (parent,) = ran.flow_runs("nested")
    assert {run.entry.flow_run for run in ran.task_runs()} == {parent.id}


def test_a_flow_in_a_task_is_a_child_of_the_tasks_flow(ran: Harness) -> None:
    """The chain of parents is a chain of flows."""

    @task
    def wrapper() -> int:
        return sync_child(1)

    @flow(name="around")
    def around() -> int:
        return wrapper.submit().result()

    assert around() == 2
    (parent,) = ran.flow_runs("around")
    (child,) = ran.flow_runs("sync-child")
    assert child.entry.parent == parent.id


def test_a_task_outside_any_flow_runs_and_is_recorded(ran: Harness) -> None:
    """It has no flow run, and a name that ends in a piece of its id."""
    assert plain(1) == 2
    assert asyncio.run(awaited(1)) == 11

    runs = ran.task_runs()
    assert [run.entry.flow_run for run in runs] == [None, None]
    assert [steps(run) for run in runs] == [ENDED_WELL, ENDED_WELL]


def test_flows_in_threads_of_the_users_own_are_roots(ran: Harness) -> None:
    """A new thread does not inherit the running flow; a copied context does."""
    import contextvars

    seen: list[Any] = []

    @flow(name="threaded")
    def threaded() -> None:
        context = contextvars.copy_context()
        for target in (lambda: sync_child(1), lambda: context.run(sync_child, 2)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        seen.append(flow_run.id)

    threaded()

    parents = [run.entry.parent for run in ran.flow_runs("sync-child")]
    assert parents == [None, seen[0]]


def test_an_error_passes_through_every_level(ran: Harness) -> None:
    """Row 3 of the verdicts: sync parent, async subflow, async task; Failed thrice, never Crashed."""

    class Conflict(Exception):
        pass

    @task(name="post")
    async def post() -> None:
        try:
            raise ConnectionError("409 Conflict")
        except ConnectionError as error:
            raise Conflict("The record exists") from error

    @flow(name="child")
    async def child() -> None:
        await post()

    @flow(name="parent")
    def parent() -> None:
        asyncio.run(child())

    with pytest.raises(Conflict):
        parent()

    for run in ran.runs():
        assert run.state is not None
        assert steps(run) == ["Pending", "Running", "Failed"]
        assert "ConnectionError: 409 Conflict" in (run.state.message or "")


def test_a_caught_error_of_a_subflow_does_not_touch_the_parent(ran: Harness) -> None:
    """Row 35 of the verdicts."""

    @flow(name="bad")
    def bad() -> None:
        raise ValueError("no")

    @flow(name="good")
    def good() -> str:
        with pytest.raises(ValueError, match="no"):
            bad()
        assert bad(return_state=True).is_failed()
        return "fine"

    assert good() == "fine"
    assert [steps(run)[-1] for run in ran.flow_runs("bad")] == ["Failed", "Failed"]
    assert steps(ran.flow_runs("good")[0]) == ENDED_WELL


def test_a_recursive_flow_nests_as_deep_as_it_calls_itself(ran: Harness) -> None:
    """Each level is a run of its own."""

    @flow(name="factorial")
    def factorial(n: int) -> int:
        return 1 if n == 0 else n * factorial(n - 1)

    assert factorial(30) == 265252859812191058636308480000000
    assert len(ran.flow_runs("factorial")) == 31


@pytest.mark.parametrize("kind", [flow, task])
def test_endless_recursion_fails_every_level_and_leaves_none_open(kind: Any, ran: Harness) -> None:
    """However deep the stack was, each run is on record with its end."""

    @kind(name="endless")
    def endless() -> None:
        endless()

    with pytest.raises(RecursionError):
        endless()

    assert len(ran.runs()) > 20
    assert {run.state.name for run in ran.runs() if run.state} == {"Failed"}
