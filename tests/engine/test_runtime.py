"""What code can ask about the run that it is in, and what states tell."""

from __future__ import annotations

import asyncio
import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import headrace.runtime as runtime
from headrace import State, flow, tags, task
from headrace.context import get_run_context
from headrace.exceptions import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    MissingContextError,
    MissingResult,
    UnfinishedRun,
)
from headrace.runtime import deployment, flow_run, task_run
from headrace.states import (
    AwaitingConcurrencySlot,
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    InfrastructurePending,
    Late,
    Paused,
    Pending,
    Retrying,
    Running,
    Scheduled,
    StateGroup,
    StateType,
    Submitting,
    Suspended,
    get_state_exception,
    get_state_result,
    raise_state_exception,
)
from headrace.testing import Harness


def test_runtime_knows_the_flow_and_the_task(ran: Harness) -> None:
    """Sync, submitted and async code see their own run."""
    seen: list[dict[str, Any]] = []

    def note() -> None:
        seen.append({name: getattr(task_run, name) for name in task_run.__all__})

    @task(name="t", tags=["own"])
    def t(x: int, y: int = 2) -> None:
        note()

    @task(name="at")
    async def at(x: int) -> None:
        await asyncio.sleep(0)
        note()

    @flow(name="child", version="7")
    def child(z: int) -> dict[str, Any]:
        return {name: getattr(flow_run, name) for name in flow_run.__all__}

    @flow(name="parent", flow_run_name="named")
    def parent(x: int) -> Any:
        t(1)
        t.submit(3, y=4).wait()
        asyncio.run(at(5))
        return flow_run.id, flow_run.name, child(int(x))

    with tags("tag"):
        own_id, name, inner = parent("1")  # type: ignore[arg-type]

    (outer,) = ran.flow_runs("parent")
    (inside,) = ran.flow_runs("child")
    assert (own_id, name) == (outer.id, "named")
    assert inner["id"] == inside.id
    assert inner["parent_flow_run_id"] == inner["root_flow_run_id"] == outer.id
    assert (inner["flow_name"], inner["flow_version"], inner["tags"]) == ("child", "7", ["tag"])
    assert (inner["parameters"], inner["run_count"]) == ({"z": 1}, 1)
    assert inner["scheduled_start_time"].tzinfo is not None
    assert [(run["task_name"], run["name"], run["parameters"]) for run in seen] == [
        ("t", "t-0", {"x": 1, "y": 2}),
        ("t", "t-1", {"x": 3, "y": 4}),
        ("at", "at-0", {"x": 5}),
    ]
    assert [run["id"] for run in seen] == [run.id for run in ran.task_runs()]
    assert seen[0]["tags"] == ["own", "tag"]
    assert seen[0]["run_count"] == 1


def test_runtime_counts_tries() -> None:
    """``run_count`` is 2 in the first retry."""
    counts: list[int] = []

    @task(retries=2)
    def t() -> None:
        counts.append(task_run.run_count)
        if len(counts) < 3:
            raise ValueError("no")

    t()

    assert counts == [1, 2, 3]


def test_runtime_outside_a_run_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that code which reads it can be tested; the environment can fill it for a test."""
    assert flow_run.id is None
    assert (flow_run.tags, flow_run.parameters, flow_run.run_count) == ([], {}, 0)
    assert task_run.name is None
    assert deployment.parameters == {}
    monkeypatch.setenv("HEADRACE__RUNTIME__FLOW_RUN__NAME", "mocked")
    assert flow_run.name == "mocked"
    with pytest.raises(AttributeError, match="nothing"):
        _ = flow_run.nothing
    assert "id" in dir(runtime.flow_run)


def test_the_run_context_is_the_innermost_run() -> None:
    """Outside there is none."""

    @task(name="t")
    def t() -> Any:
        return get_run_context().name

    @flow(flow_run_name="named")
    def f() -> Any:
        return get_run_context().name, t()

    assert f() == ("named", "t-0")
    with pytest.raises(MissingContextError):
        get_run_context()


@pytest.mark.parametrize(
    ("make", "kind", "name"),
    [
        (Scheduled, "SCHEDULED", "Scheduled"),
        (Late, "SCHEDULED", "Late"),
        (AwaitingRetry, "SCHEDULED", "AwaitingRetry"),
        (AwaitingConcurrencySlot, "SCHEDULED", "AwaitingConcurrencySlot"),
        (Pending, "PENDING", "Pending"),
        (Submitting, "PENDING", "Submitting"),
        (InfrastructurePending, "PENDING", "InfrastructurePending"),
        (Running, "RUNNING", "Running"),
        (Retrying, "RUNNING", "Retrying"),
        (Paused, "PAUSED", "Paused"),
        (Suspended, "PAUSED", "Suspended"),
        (Cancelling, "CANCELLING", "Cancelling"),
        (Completed, "COMPLETED", "Completed"),
        (Failed, "FAILED", "Failed"),
        (Crashed, "CRASHED", "Crashed"),
        (Cancelled, "CANCELLED", "Cancelled"),
    ],
)
def test_each_constructor_makes_its_state(make: Any, kind: str, name: str) -> None:
    """With type, name, message, data and an aware time; exactly one question answers yes."""
    state = make(message="why")
    questions = (
        "scheduled",
        "pending",
        "running",
        "completed",
        "failed",
        "crashed",
        "cancelled",
        "cancelling",
        "paused",
    )

    assert (state.type, state.name, state.message) == (StateType(kind), name, "why")
    assert [word for word in questions if getattr(state, f"is_{word}")()] == [kind.lower()]
    assert state.is_final() == (kind in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
    assert state.timestamp.tzinfo is not None
    assert abs(state.timestamp - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert make().name == name
    assert repr(state) == f"{name}(message='why', type={kind})"
    assert pickle.loads(pickle.dumps(state)) == state


def test_states_keep_their_details() -> None:
    """Times of schedules and pauses, under the contract's names; unknown ones read as None."""
    moment = datetime(2030, 1, 2, tzinfo=timezone.utc)

    assert Scheduled(moment).state_details.scheduled_time == moment
    assert AwaitingRetry(moment).state_details.scheduled_time == moment
    assert Paused(timeout_seconds=60, pause_key="k").state_details.pause_key == "k"
    assert Suspended().state_details.pause_reschedule is True
    assert Completed().state_details.scheduled_time is None
    assert Completed(state_details={"cache_key": "c"}).state_details.cache_key == "c"


def test_a_states_result_is_its_value_or_its_error() -> None:
    """Raised, or returned when asked; what has no value says which it is."""
    error = ValueError("mine")

    assert Completed(data=5).result() == 5
    assert asyncio.run(Completed(data=5).aresult()) == 5
    assert get_state_result(Completed(data=None)) is None
    with pytest.raises(MissingResult):
        Completed().result()
    with pytest.raises(UnfinishedRun, match="Running"):
        Running().result()
    with pytest.raises(ValueError, match="mine"):
        Failed(data=error).result()
    assert Failed(data=error).result(raise_on_failure=False) is error
    for make, kind in ((Failed, FailedRun), (Crashed, CrashedRun), (Cancelled, CancelledRun)):
        with pytest.raises(kind, match="because"):
            make(message="because").result()
        assert type(get_state_exception(make())) is kind
        with pytest.raises(kind):
            raise_state_exception(make())
    raise_state_exception(Completed())
    assert get_state_exception(Failed(data=[Completed(), Failed(data=error)])) is error
    assert str(get_state_exception(Failed(data="as text"))) == "as text"


def test_a_group_counts_its_states() -> None:
    """Of each type, and whether all or any are."""
    group = StateGroup([Completed(), Failed(), Crashed(), Pending()])

    assert (group.total_count, group.count("FAILED")) == (4, 1)
    assert (group.any_failed(), group.any_cancelled(), group.all_completed(), group.all_final()) == (
        True, False, False, False,
    )  # fmt: skip
    assert StateGroup([Completed()]).all_completed()


def test_states_are_compared_by_what_they_say() -> None:
    """Not by when they were made."""
    assert Completed(data=1) == Completed(data=1)
    assert Completed(data=1) != Completed(data=2)
    assert Completed() != Failed()
    assert State("COMPLETED", name="Cached").name == "Cached"
    with pytest.raises(ValueError, match="NOTHING"):
        State("NOTHING")


def test_the_public_doors_open() -> None:
    """Every name of every public module is there, and ``dir`` tells them."""
    import importlib

    import headrace

    for name in headrace.__all__:
        assert getattr(headrace, name) is not None
        assert name in dir(headrace)
    with pytest.raises(AttributeError, match="nothing"):
        _ = headrace.nothing
    for module in ("states", "futures", "tasks", "flows", "task_runners", "logging", "context", "exceptions"):
        importlib.import_module(f"headrace.{module}")


def test_importing_headrace_loads_nothing_heavy(script: Any) -> None:
    """A flow that needs neither asyncio nor pydantic loads neither; ``import headrace`` alone loads no package."""
    script.run(
        """
        import sys
        before = set(sys.modules)
        import headrace
        from headrace import flow, task

        @task
        def t(x):
            return x

        @flow
        def f(x: int = 1, y: str = "") -> int:
            return t(x)

        assert f() == 1
        heavy = {"asyncio", "pydantic", "httpx", "sqlalchemy", "fastapi", "uvicorn", "typer", "rich", "psutil"}
        loaded = heavy & {name.split(".")[0] for name in sys.modules}
        assert not loaded, loaded
        """
    )
