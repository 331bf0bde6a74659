"""What runs are called, and what else a decorator says about them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headrace import Flow, Task, flow, tags, task
from headrace.testing import Harness

from .conftest import steps


@task(name="inc", task_run_name="inc-{x}")
def inc(x: int) -> int:
    return x + 1


def test_names_come_from_the_function(ran: Harness) -> None:
    """A flow's with dashes, a task's as it is; a run's is two words, or the task's with its number."""

    @task
    def some_task() -> None:
        return None

    @flow
    def some_flow() -> None:
        some_task()
        some_task()

    some_flow()

    (run,) = ran.flow_runs()
    assert run.entry.flow == some_flow.name == "some-flow"
    assert re.fullmatch(r"[a-z]+-[a-z]+", run.entry.name)
    assert some_task.name == "some_task"
    assert [each.entry.name for each in ran.task_runs()] == ["some_task-0", "some_task-1"]


def test_run_names_are_made_from_templates(ran: Harness) -> None:
    """With parameters after coercion, their attributes and items, and the date."""

    @flow(flow_run_name="{name}-{count:03d}-{info[key]}-{date:%Y}")
    def f(name: str, count: int, info: dict[str, str]) -> None:
        inc(count)

    f("x", "7", {"key": "k"})  # type: ignore[arg-type]

    assert re.fullmatch(r"x-007-k-2\d\d\d", ran.flow_runs()[0].entry.name)
    assert ran.task_runs()[0].entry.name == "inc-7"


def test_run_names_are_made_by_functions(ran: Harness) -> None:
    """A function that takes something gets the parameters; inside it the runtime knows the run."""
    from headrace.runtime import flow_run

    @flow(flow_run_name=lambda: f"{flow_run.flow_name}-by-function")
    def f() -> None:
        return None

    @task(name="t", task_run_name=lambda parameters: f"t-{parameters['x']}")
    def t(x: int) -> None:
        return None

    f()
    t(5)

    assert ran.flow_runs()[0].entry.name == "f-by-function"
    assert ran.task_runs()[0].entry.name == "t-5"


def test_a_task_is_named_by_the_values_it_gets(ran: Harness) -> None:
    """A future among the arguments shows as its value, or as its name while it has none."""

    @flow
    def f() -> None:
        first = inc.submit(1)
        first.wait()
        inc(first)  # type: ignore[arg-type]
        inc.submit(first).wait()  # type: ignore[arg-type]

    f()

    assert [run.entry.name for run in ran.task_runs()] == ["inc-1", "inc-2", "inc-2"]


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{missing}", "KeyError: 'missing'"),
        ("{x.nothing}", "AttributeError"),
        ("{0}", "IndexError"),
        ("{x", "ValueError"),
        (lambda: 5, "returned int; it must return text"),
    ],
)
def test_a_name_that_cannot_be_made_fails_and_says_why(template: Any, told: str, ran: Harness) -> None:
    """With the template and the parameters there are."""

    @flow(name="f", flow_run_name=template)
    def f(x: int) -> None:
        return None

    @task(task_run_name=template)
    def t(x: int) -> None:
        return None

    with pytest.raises(ValueError, match=re.escape(told)):
        f(1)
    with pytest.raises(ValueError, match=re.escape(told)):
        t(1)

    assert steps(ran.flow_runs("f")[0]) == ["Pending", "Failed"]


def test_a_name_function_that_raises_fails_the_run(ran: Harness) -> None:
    """With its own error."""

    def broken() -> str:
        raise RuntimeError("no name")

    with pytest.raises(RuntimeError, match="no name"):
        flow(lambda: None, name="f", flow_run_name=broken)()
    assert steps(ran.runs()[0]) == ["Pending", "Failed"]


@pytest.mark.parametrize("name", ["a/b", "50%", "a&b", "<x>"])
def test_flow_names_that_break_addresses_are_refused(name: str) -> None:
    """As the field does, because names appear in URLs."""
    with pytest.raises(ValueError, match="may not hold any of"):
        flow(name=name)(lambda: None)


def test_tags_nest_and_reach_everything_within(ran: Harness) -> None:
    """Flows, subflows and tasks, submitted or not; a task's own are added; afterwards they are gone."""

    @task(name="t", tags=["own"])
    def t() -> None:
        return None

    @flow(name="child")
    def child() -> None:
        t()

    @flow(name="f")
    def f() -> None:
        with tags("in") as inside:
            assert inside == {"out", "in"}
            child()
            t.submit().wait()
        t()

    with tags("out", "out"):
        f()
    t()

    found = {run.entry.name: sorted(run.entry.tags or []) for run in ran.task_runs()}
    assert ran.flow_runs("f")[0].entry.tags == ["out"]
    assert sorted(ran.flow_runs("child")[0].entry.tags) == ["in", "out"]
    assert found["t-0"] in (["in", "out", "own"], ["out", "own"])
    assert [sorted(run.entry.tags or []) for run in ran.task_runs("t")] == [
        ["in", "out", "own"],
        ["in", "out", "own"],
        ["out", "own"],
        ["own"],
    ]
    assert task(tags="one-text")(lambda: None).tags == {"one-text"}


def test_tags_are_taken_back_after_an_error() -> None:
    """Whatever happens within."""
    with pytest.raises(ValueError, match="no"), tags("a"):
        raise ValueError("no")
    with tags() as now:
        assert now == set()


def test_descriptions_and_versions(ran: Harness) -> None:
    """From the docstring and the file, unless they are given."""

    @flow
    def documented() -> None:
        """Do it.

        More.
        """

    @flow(name="given", description="short", version="1.2")
    def given() -> None:
        """Long."""

    @task(version="3")
    def t() -> None:
        """Tell."""

    given()
    t()

    assert documented.description == "Do it.\n\nMore."
    assert re.fullmatch("[0-9a-f]{32}", documented.version or "")
    assert (given.description, given.version) == ("short", "1.2")
    assert ran.flow_runs("given")[0].entry.version == "1.2"
    assert (t.description, ran.task_runs()[0].entry.version) == ("Tell.", "3")


def test_with_options_changes_a_copy() -> None:
    """What is not named stays; the original stays too."""

    @flow(name="a", retries=2, retry_delay_seconds=3, description="d", timeout_seconds=9, log_prints=True)
    def f(x: int) -> int:
        return x

    @task(name="t", retries=2, tags=["x"], retry_jitter_factor=0.5)
    def t(x: int) -> int:
        return x

    g = f.with_options(name="b", retries=0)
    u = t.with_options(tags=["y"])

    assert isinstance(g, Flow)
    assert isinstance(u, Task)
    assert (f.name, f.retries) == ("a", 2)
    assert (g.name, g.retries, g.retry_delay_seconds, g.description, g.timeout_seconds) == ("b", 0, 3, "d", 9)
    assert g.log_prints is True
    assert (t.tags, u.tags, u.retries, u.retry_jitter_factor, u.name) == ({"x"}, {"y"}, 2, 0.5, "t")
    assert g(1) == u(1) == 1


def test_decorated_functions_keep_their_names_and_docs() -> None:
    """``functools.wraps`` as one expects; the function itself is ``.fn``."""

    @flow
    def f(x: int) -> int:
        """Say what."""
        return x

    assert (f.__name__, f.__doc__, f.__module__) == ("f", "Say what.", __name__)
    assert f.fn(3) == 3
    assert repr(f) == "<Flow 'f'>"
    assert repr(inc) == "<Task 'inc'>"


def test_a_tasks_key_is_the_same_for_the_same_code() -> None:
    """It names the task over runs, and differs for other names or code."""

    def make(name: str, n: int = 1) -> Any:
        scope: dict[str, Any] = {}
        exec(f"def body(x):\n    return x + {n}" if n == 1 else "def body(x):\n    return len(x)", scope)
        return task(name=name)(scope["body"])

    assert make("a").task_key == make("a").task_key
    assert make("a").task_key != make("b").task_key
    assert make("a").task_key != make("a", 2).task_key
