"""Submitted tasks: futures, maps, what they wait for, and what they get in the place of a future."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections import namedtuple
from typing import Any

import pydantic
import pytest

from headrace import allow_failure, flow, task, unmapped
from headrace.exceptions import MissingContextError, UpstreamTaskError
from headrace.futures import as_completed, resolve_futures_to_results, wait
from headrace.states import State
from headrace.task_runners import ThreadPoolTaskRunner
from headrace.testing import Harness
from headrace.utilities.annotations import quote

from .conftest import steps


@task(name="inc")
def inc(x: int) -> int:
    return x + 1


@task(name="boom")
def boom(text: str = "boom") -> int:
    raise ValueError(text)


@task(name="same")
def same(value: Any, *more: Any) -> Any:
    return value


@task(name="held")
def held(gate: threading.Event) -> str:
    assert gate.wait(20)
    return "done"


def in_flow(body: Any, **options: Any) -> Any:
    """Run a function as a flow."""
    return flow(name="f", **options)(body)()


def test_a_future_tells_its_state_before_and_after(ran: Harness) -> None:
    """Pending while the task has not ended; then its last state, its value, from any thread."""
    gate = threading.Event()

    def body() -> None:
        future = held.submit(gate)
        assert future.state.is_pending()
        assert not future.done()
        with pytest.raises(TimeoutError, match=r"has not ended after 0\.01 s"):
            future.result(timeout=0.01)
        future.wait(timeout=0)
        assert not future.done()
        gate.set()
        assert future.result(timeout=20) == "done"
        assert future.state.is_completed()
        assert future.state.result() == "done"
        (run,) = ran.task_runs("held")
        assert run.id == future.task_run_id

    in_flow(body)


def test_a_failed_future_raises_or_returns_its_error(ran: Harness) -> None:
    """``raise_on_failure=False`` returns the exception in the value's place."""

    def body() -> str:
        future = boom.submit()
        with pytest.raises(ValueError, match="boom"):
            future.result()
        error = future.result(raise_on_failure=False)
        assert isinstance(error, ValueError)
        return "fine"

    assert in_flow(body) == "fine"
    assert steps(ran.flow_runs("f")[0])[-1] == "Completed"


def test_callbacks_are_called_once_whenever_they_are_added() -> None:
    """Before the end by the thread that ends the task; after it at once."""
    gate = threading.Event()
    called: list[Any] = []

    def body() -> None:
        future = held.submit(gate)
        future.add_done_callback(called.append)
        assert called == []
        gate.set()
        future.wait()
        future.add_done_callback(called.append)
        assert called == [future, future]

    in_flow(body)


def test_a_callback_that_raises_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged; other waiters hear of the end, and the thread goes on to the next task."""
    gate = threading.Event()

    def broken(_: Any) -> None:
        raise RuntimeError("in the callback")

    def body() -> Any:
        future = held.submit(gate)
        future.add_done_callback(broken)
        threading.Timer(0.02, gate.set).start()
        assert future.result(timeout=20) == "done"
        future.add_done_callback(broken)
        return inc.submit(1).result(timeout=20)

    assert in_flow(body, task_runner=ThreadPoolTaskRunner(max_workers=1)) == 2
    assert caplog.text.count("RuntimeError: in the callback") == 2


def test_as_completed_yields_the_first_to_end_first() -> None:
    """Not in the order of submission; a limit raises TimeoutError and says how many are left."""
    gates = [threading.Event() for _ in range(3)]

    def body() -> None:
        futures = [held.submit(gate) for gate in gates]
        with pytest.raises(TimeoutError, match="3 of 3 futures"):
            list(as_completed(futures, timeout=0.01))
        order = []
        gates[2].set()
        for future in as_completed([*futures, futures[0]], timeout=20):
            order.append(futures.index(future))
            gates[{2: 0, 0: 1}.get(order[-1], 0)].set()
        assert order == [2, 0, 1]

    in_flow(body)


def test_wait_splits_futures_into_done_and_not_done() -> None:
    """After the limit it returns what there is."""
    gate = threading.Event()

    def body() -> None:
        quick, slow = inc.submit(1), held.submit(gate)
        quick.wait()
        done, not_done = wait([quick, slow], timeout=0.01)
        assert (done, not_done) == ({quick}, {slow})
        gate.set()
        assert wait([quick, slow]).not_done == set()

    in_flow(body)


def test_submit_and_call_can_return_states() -> None:
    """``return_state=True`` waits and gives the state, raising nothing."""

    def body() -> None:
        assert inc.submit(1, return_state=True).result() == 2
        assert inc(1, return_state=True).result() == 2
        assert boom.submit(return_state=True).is_failed()
        assert boom(return_state=True).is_failed()
        assert [state.result() for state in inc.map([1, 2], return_state=True)] == [2, 3]

    in_flow(body)


def test_submit_outside_a_flow_says_what_to_do() -> None:
    """Only a flow run has a task runner."""
    with pytest.raises(MissingContextError, match="inside a function decorated with @flow"):
        inc.submit(1)
    with pytest.raises(MissingContextError):
        inc.map([1])


def test_a_task_run_by_submission_is_recorded_pending_first(ran: Harness) -> None:
    """Its record names the inputs that came from other runs, and what it waited for."""

    def body() -> None:
        first = inc.submit(1)
        second = inc.submit(first, wait_for=[inc.submit(5)])
        assert second.result() == 3

    in_flow(body)

    runs = {run.entry.name: run for run in ran.task_runs("inc")}
    assert all(steps(run) == ["Pending", "Running", "Completed"] for run in runs.values())
    assert runs["inc-2"].entry.inputs == {
        "x": [{"input_type": "task_run", "id": runs["inc-0"].id}],
        "wait_for": [{"input_type": "task_run", "id": runs["inc-1"].id}],
    }


Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass(frozen=True)
class Box:
    inside: Any
    note: str = ""


class Model(pydantic.BaseModel):
    inside: Any


def test_futures_are_found_in_collections_however_deep() -> None:
    """Lists, tuples, sets, dicts, named tuples, dataclasses and models; the given ones are left as they were."""

    def body() -> None:
        def one() -> Any:
            return inc.submit(0)

        assert same([one(), [one(), (one(), {"a": one()})]]) == [1, [1, (1, {"a": 1})]]
        assert same({one(), 5}) == {1, 5}
        assert same(Pair(one(), 2)) == Pair(1, 2)
        given = Box([one()], "n")
        assert same(given) == Box([1], "n")
        assert given.inside != [1]
        assert same(Model(inside=one())) == Model(inside=1)
        assert same.submit([Box(one())]).result() == [Box(1)]
        assert same(inc(1, return_state=True)) == 2
        assert resolve_futures_to_results({"a": [one()]}) == {"a": [1]}

    in_flow(body)


def test_collections_that_hold_themselves_are_survived() -> None:
    """A cycle holds no futures, or is handed over as it is."""
    ring: list[Any] = [1, [2]]
    ring.append(ring)
    loop: dict[str, Any] = {"x": []}
    loop["x"].append(loop)

    def body() -> None:
        assert same(ring) is ring
        assert same.submit(loop).result() is loop

    in_flow(body)


def test_flows_take_futures_as_tasks_do(ran: Harness) -> None:
    """They are waited for and replaced before validation; ``wait_for`` and failures upstream work the same."""

    @flow(name="child")
    def child(x: int, many: list[int] | None = None) -> Any:
        return x, many

    @flow(name="async-child")
    async def async_child(x: int) -> Any:
        return x

    def body() -> None:
        assert child(inc.submit(1), [inc.submit(2)]) == (2, [3])  # type: ignore[arg-type, list-item]
        assert child(1, wait_for=[inc.submit(1), inc(1, return_state=True)]) == (1, None)
        assert asyncio.run(async_child(inc.submit(4))) == 5  # type: ignore[arg-type]
        with pytest.raises(UpstreamTaskError, match=r"boom-0 .* Failed\. ValueError: boom"):
            child(boom.submit())  # type: ignore[arg-type]
        with pytest.raises(UpstreamTaskError):
            child(1, wait_for=[boom.submit()])

    in_flow(body)

    runs = ran.flow_runs("child")
    assert [steps(run)[-1] for run in runs] == ["Completed", "Completed", "NotReady", "NotReady"]
    assert set(runs[0].entry.inputs) == {"x", "many"}


def test_a_task_does_not_begin_when_one_that_it_needs_failed(ran: Harness) -> None:
    """It is NotReady, and so is what needs it in turn; each names the run that failed."""

    def body() -> None:
        bad = boom.submit("why")
        second = inc.submit(bad)
        third = inc.submit(second)
        with pytest.raises(UpstreamTaskError, match=r"boom-0 that this one needs did not complete.*why"):
            second.result()
        with pytest.raises(UpstreamTaskError, match="inc-0"):
            third.result()
        assert isinstance(third.result(raise_on_failure=False), UpstreamTaskError)
        with pytest.raises(UpstreamTaskError):
            inc(1, wait_for=[bad])

    in_flow(body)

    assert [steps(run) for run in ran.task_runs("inc")] == [["Pending", "NotReady"]] * 3


def test_allow_failure_hands_the_error_over_as_the_value() -> None:
    """Also that of a run that never began; in ``wait_for`` it only lets the task begin."""

    def body() -> None:
        bad = boom.submit("why")
        blocked = inc.submit(bad)
        found = same.submit(allow_failure([bad, 5])).result()
        assert isinstance(found[0], ValueError)
        assert found[1] == 5
        assert isinstance(same(allow_failure(bad)), ValueError)
        assert isinstance(same(allow_failure(blocked)), UpstreamTaskError)
        assert inc.submit(1, wait_for=[allow_failure(bad)]).result() == 2
        with pytest.raises(UpstreamTaskError):
            inc.submit(1, wait_for=[allow_failure(bad), boom.submit()]).result()

    in_flow(body)


def test_quote_hands_over_what_it_holds_without_a_look() -> None:
    """A future stays a future."""

    @task
    def kinds(value: Any) -> list[str]:
        return [type(each).__name__ for each in value]

    def body() -> None:
        futures = [inc.submit(1)]
        assert kinds(quote(futures)) == ["HeadraceFuture"]
        assert kinds.submit(quote(futures)).result() == ["HeadraceFuture"]
        assert kinds(futures) == ["int"]

    in_flow(body)


def test_map_spreads_iterables_and_keeps_their_order(ran: Harness) -> None:
    """Constants, texts and ``unmapped`` go whole to each run; any iterable is spread."""

    @task(name="row")
    def row(*given: Any, **named: Any) -> Any:
        return given, named

    @task(name="add")
    def add(x: Any, y: Any = 0, z: Any = "z") -> Any:
        return x, y, z

    def body() -> None:
        assert add.map([1, 2], 5).result() == [(1, 5, "z"), (2, 5, "z")]
        assert add.map(x=(n for n in (1, 2)), y=range(2), z="text").result() == [
            (1, 0, "text"),
            (2, 1, "text"),
        ]
        assert add.map([1], unmapped([7, 8])).result() == [(1, [7, 8], "z")]
        assert add.map([1], unmapped(inc.submit(1))).result() == [(1, 2, "z")]
        assert add.map(inc.map([1, 2]), inc.submit(9)).result() == [(2, 10, "z"), (3, 10, "z")]
        assert add.map(same.submit([4, 5])).result() == [(4, 0, "z"), (5, 0, "z")]
        assert row.map(a=[1, 2], b=unmapped([3])).result() == [
            ((), {"a": 1, "b": [3]}),
            ((), {"a": 2, "b": [3]}),
        ]
        assert add.map([]) == []

    in_flow(body)
    assert steps(ran.flow_runs("f")[0])[-1] == "Completed"


def test_map_refuses_what_it_cannot_spread() -> None:
    """Different lengths, or nothing to spread: it says so, and nothing is submitted."""

    @task
    def add(x: int, y: int) -> int:
        return x + y

    def body() -> None:
        with pytest.raises(ValueError, match=r"different lengths \(x: 2, y: 3\).*unmapped"):
            add.map([1, 2], [1, 2, 3])
        with pytest.raises(ValueError, match="nothing to map over"):
            add.map(1, 2)

    in_flow(body)


def test_map_waits_and_allows_failure_as_submit_does() -> None:
    """Each run by itself: one failure upstream stops one run."""

    def body() -> None:
        futures = inc.map(boom.map(["a", "b"]) + inc.map([1]))
        assert [type(f.result(raise_on_failure=False)) for f in futures] == [
            UpstreamTaskError,
            UpstreamTaskError,
            int,
        ]
        found = same.map(allow_failure(boom.map(["a", "b"]))).result()
        assert [str(error) for error in found] == ["a", "b"]
        assert inc.map([1, 2], wait_for=[inc.submit(0)]).result() == [2, 3]

    in_flow(body)


def test_a_flow_waits_for_the_tasks_that_it_left_running(ran: Harness) -> None:
    """It ends after them, so nothing of it goes on unseen."""
    gate = threading.Event()

    def body() -> str:
        held.submit(gate)
        threading.Timer(0.05, gate.set).start()
        return "first"

    assert in_flow(body) == "first"
    (left,) = ran.task_runs("held")
    (parent,) = ran.flow_runs("f")
    assert left.end is not None and parent.end is not None
    assert left.end <= parent.end


def test_a_failed_flow_cancels_tasks_that_have_not_begun(ran: Harness) -> None:
    """Those that run go on to their end."""
    gate = threading.Event()

    def body() -> None:
        futures = [held.submit(gate) for _ in range(5)]
        while not ran.task_runs("held")[0].start:
            pass
        threading.Timer(0.05, gate.set).start()
        assert futures
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_flow(body, task_runner=ThreadPoolTaskRunner(max_workers=1))

    assert [steps(run)[-1] for run in ran.task_runs("held")] == ["Completed"] + ["Cancelled"] * 4


@task(name="fib")
def fib(n: int) -> int:
    return n if n < 2 else sum(future.result() for future in (fib.submit(n - 1), fib.submit(n - 2)))


@task(name="afib")
async def afib(n: int) -> int:
    if n < 2:
        return n
    return afib.submit(n - 1).result() + await add_async(afib.submit(n - 2), 0)  # type: ignore[arg-type]


@task(name="add-async")
async def add_async(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("kind", [fib, afib])
def test_tasks_that_submit_tasks_never_lock_each_other_out(kind: Any, workers: int) -> None:
    """However few threads there are, a thread that waits does not keep another task from beginning."""

    def body() -> int:
        return int(kind.submit(8).result(timeout=30))

    assert in_flow(body, task_runner=ThreadPoolTaskRunner(max_workers=workers)) == 21


def test_as_completed_and_limited_waits_inside_tasks_do_not_lock_up() -> None:
    """With one thread too."""

    @task
    def collects() -> list[int]:
        return sorted(future.result() for future in as_completed([inc.submit(n) for n in range(5)]))

    @task
    def asks() -> list[int]:
        futures = inc.map(range(3))
        wait(futures, timeout=20)
        return [future.result(timeout=20) for future in futures] + [
            future.result() for future in as_completed([inc.submit(9)], timeout=20)
        ]

    def body() -> Any:
        return collects.submit().result(), asks.submit().result()

    assert in_flow(body, task_runner=ThreadPoolTaskRunner(max_workers=1)) == ([1, 2, 3, 4, 5], [1, 2, 3, 10])


def test_no_more_tasks_run_at_once_than_the_runner_has_threads() -> None:
    """``max_workers`` is a limit, and all of it is used."""
    lock = threading.Lock()
    now = most = 0
    both = threading.Barrier(2)

    @task
    def counted(n: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        both.wait(20)
        with lock:
            now -= 1

    def body() -> None:
        counted.map(range(10)).wait()

    in_flow(body, task_runner=ThreadPoolTaskRunner(max_workers=2))

    assert most == 2


def test_a_runner_can_be_given_as_a_class_and_refuses_no_threads() -> None:
    """Each flow run gets a runner of its own."""
    assert in_flow(lambda: inc.submit(1).result(), task_runner=ThreadPoolTaskRunner) == 2
    with pytest.raises(ValueError, match="at least 1"):
        ThreadPoolTaskRunner(max_workers=0)


def test_tasks_run_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a limit of the system the caller does the work itself."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert in_flow(lambda: sum(inc.map(range(5)).result())) == 15


def test_an_interrupt_in_the_middle_of_a_submit_leaves_no_task_open(
    ran: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C strikes where it likes: after the record and before the queue too."""

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadPoolTaskRunner, "submit", interrupted)

    with pytest.raises(KeyboardInterrupt):
        in_flow(lambda: inc.submit(1))

    assert steps(ran.task_runs("inc")[0]) == ["Pending", "Cancelled"]


def test_async_flows_submit_and_await_together() -> None:
    """The loop goes on while submitted tasks run in their threads."""
    gate = threading.Event()

    @flow
    async def f() -> Any:
        future = held.submit(gate)
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.to_thread(future.result), await add_async(inc.submit(1), inc.submit(2))  # type: ignore[arg-type]

    assert asyncio.run(f()) == ("done", 5)


def test_a_future_knows_its_end_from_whatever_thread() -> None:
    """A hundred waiters, one end."""
    gate = threading.Event()
    found: list[Any] = []

    def body() -> None:
        future = held.submit(gate)
        threads = [threading.Thread(target=lambda: found.append(future.result(20))) for _ in range(100)]
        for thread in threads:
            thread.start()
        gate.set()
        for thread in threads:
            thread.join(20)

    in_flow(body)

    assert found == ["done"] * 100


def test_idle_threads_never_strand_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that gives up waiting just as a task comes takes it all the same."""
    import headrace.engine.runners.threads as threads

    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.0005)

    def body() -> int:
        total = 0
        for n in range(300):
            total += inc.submit(0).result(timeout=20)
            time.sleep(0.0005 if n % 3 else 0)
        return total

    assert in_flow(body) == 300


def test_a_state_is_no_future() -> None:
    """Its kind is a State, with the value in it."""

    def body() -> None:
        state = inc.submit(1, return_state=True)
        assert isinstance(state, State)

    in_flow(body)
