"""What a run shows of the error that ended it: whole chains, the user's frames, and safe texts whatever it is."""

from __future__ import annotations

import asyncio
import sys
import traceback
from typing import Any

import pytest

from headrace import flow, task
from headrace.testing import Harness

from .conftest import Script, evidence, steps


def failing(error: BaseException) -> Any:
    """Return a flow that raises."""

    def body() -> None:
        raise error

    return flow(body, name="f")


def test_the_evidence_is_type_message_and_traceback(ran: Harness) -> None:
    """With the user's frames only, from the flow's function to the line that raised."""

    def deep() -> None:
        raise KeyError("deep")

    @task(name="t", timeout_seconds=20)
    def t() -> None:
        deep()

    @flow(name="f", timeout_seconds=20)
    def f() -> None:
        t()

    with pytest.raises(KeyError):
        f()

    for run in ran.runs():
        found = evidence(run)
        assert found["type"] == "KeyError"
        assert found["message"] == "'deep'"
        frames = [line for line in found["traceback"].splitlines() if line.startswith("  File ")]
        names = [line.rsplit(" in ", 1)[1] for line in frames]
        assert names == (["f", "t", "deep"] if run.is_flow else ["t", "deep"])
        assert all(__file__ in line for line in frames)


@pytest.mark.parametrize("kind", ["sync", "async", "submitted"])
def test_an_error_that_reaches_the_caller_holds_no_frames_of_the_engine(kind: str) -> None:
    """Its traceback was cleaned on its way; what follows are the frames of the call itself."""

    @task
    def t() -> None:
        raise KeyError("deep")

    @flow
    def f() -> None:
        t.submit().result() if kind == "submitted" else t()

    @flow
    async def af() -> None:
        t()

    with pytest.raises(KeyError) as caught:
        asyncio.run(af()) if kind == "async" else f()

    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    inner = names[names.index("af" if kind == "async" else "f") :]
    assert "t" in inner
    assert not {"drive", "_carry_out", "_call", "drive_async"} & set(inner)


def test_the_whole_chain_is_told_and_its_root_named(ran: Harness) -> None:
    """Causes and contexts, outermost first, in evidence, traceback and message."""

    def body() -> None:
        try:
            try:
                raise OSError("socket")
            except OSError:
                raise ConnectionError("no route")  # noqa: B904  # the context is what is tested
        except ConnectionError as error:
            raise ValueError("cannot load") from error

    with pytest.raises(ValueError, match="cannot load"):
        flow(body, name="f")()

    (run,) = ran.runs()
    found = evidence(run)
    assert [(link["type"], link.get("how")) for link in found["chain"]] == [
        ("ValueError", None),
        ("ConnectionError", "cause"),
        ("OSError", "context"),
    ]
    assert found["root_cause"] == {"type": "OSError", "message": "socket"}
    assert run.state is not None
    assert run.state.message == "ValueError: cannot load (root cause: OSError: socket)"
    assert "direct cause" in found["traceback"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_a_group_shows_what_is_in_it(ran: Harness) -> None:
    """Each exception with the user's frames, and the first in the message."""

    @task(name="t")
    async def t(n: int) -> None:
        raise ValueError(f"number {n}")

    @flow(name="f")
    async def f() -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(2):
                group.create_task(t(n))

    with pytest.raises(Exception, match="in a TaskGroup"):
        asyncio.run(f())

    (run,) = ran.flow_runs("f")
    found = evidence(run)
    assert run.state is not None
    assert "(the first: ValueError: number 0)" in (run.state.message or "")
    assert [part["message"] for part in found["exceptions"]] == ["number 0", "number 1"]
    assert found["traceback"].count("in t\n") == 2
    assert "_carry_out" not in found["traceback"]


class ThreeArguments(Exception):
    def __init__(self, one: int, two: int, three: int) -> None:
        super().__init__(f"{one} {two} {three}")
        self.handle = open(__file__)  # noqa: SIM115  # what cannot be pickled

    def __reduce__(self) -> Any:
        raise TypeError("cannot be pickled")


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")

    __repr__ = __str__


class Exits(Exception):
    def __str__(self) -> str:
        sys.exit(3)


def test_errors_that_resist_are_shown_all_the_same(ran: Harness) -> None:
    """Row 14 of the verdicts: unpicklable, three arguments, ``__str__`` raises; also odd texts and cycles."""
    three = ThreeArguments(1, 2, 3)
    three.handle.close()
    circle = ValueError("circle")
    circle.__cause__ = KeyError("half")
    circle.__cause__.__cause__ = circle
    noted = ValueError()
    noted.__notes__ = 5  # type: ignore[assignment]  # whatever user code does
    errors = [three, NoText(), Exits(), ValueError("\ud800 \x00 grüße"), circle, noted]

    for error in errors:
        assert failing(error)(return_state=True).is_failed()

    runs = ran.runs()
    assert [evidence(run)["type"].rsplit(".", 1)[-1] for run in runs] == [
        "ThreeArguments", "NoText", "Exits", "ValueError", "ValueError", "ValueError",
    ]  # fmt: skip
    assert evidence(runs[0])["message"] == "1 2 3"
    assert "__str__ raised RuntimeError" in evidence(runs[1])["message"]
    assert "grüße" in evidence(runs[3])["message"]


def test_a_huge_message_is_cut_and_its_length_told(ran: Harness) -> None:
    """Row 15 of the verdicts; the caller still gets all of it."""
    with pytest.raises(ValueError, match=r"^x{5000000}$"):
        failing(ValueError("x" * 5_000_000))()

    (run,) = ran.runs()
    found = evidence(run)
    assert len(found["message"]) < 20_000
    assert "5000000 characters in all" in found["message"]
    assert len(found["traceback"]) < 100_000
    assert run.state is not None and len(run.state.message or "") < 30_000


@pytest.mark.parametrize("make", [flow, task])
@pytest.mark.parametrize(
    ("code", "name", "told"),
    [
        (0, "Completed", "exited early, with code 0"),
        (None, "Completed", "exited early, with code 0"),
        (1, "Failed", "code 1"),
        ("out of milk", "Failed", "out of milk"),
    ],
)
def test_sys_exit_ends_a_run_as_its_code_says(
    make: Any, code: Any, name: str, told: str, ran: Harness
) -> None:
    """Rows 4 and 5 of the verdicts; the exit goes on to the caller."""
    with pytest.raises(SystemExit) as caught:
        make(lambda: sys.exit(code), name="f")()

    (run,) = ran.runs()
    assert caught.value.code == code
    assert run.state is not None
    assert run.state.name == name
    assert told in (run.state.message or "")


def test_sys_exit_in_a_submitted_task_does_not_end_the_thread_unseen(ran: Harness) -> None:
    """The task fails, and asking for its result raises the exit."""

    @task(name="t")
    def t() -> None:
        sys.exit(4)

    @flow(name="f")
    def f() -> str:
        future = t.submit()
        future.wait()
        assert future.state.is_failed()
        return "went on"

    assert f() == "went on"
    assert steps(ran.task_runs("t")[0])[-1] == "Failed"


@pytest.mark.parametrize("is_async", [False, True])
def test_an_interrupt_is_not_a_failure(is_async: bool, ran: Harness) -> None:
    """Row 19 of the verdicts: Cancelled, named Interrupted, at every level."""

    @task(name="t")
    def t() -> None:
        raise KeyboardInterrupt

    @flow(name="f")
    async def af() -> None:
        t()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(af()) if is_async else flow(lambda: t(), name="f")()

    assert {(run.state.type, run.state.name) for run in ran.runs() if run.state} == {
        ("CANCELLED", "Interrupted")
    }


def test_a_memory_error_tells_the_peak(ran: Harness) -> None:
    """Row 12 of the verdicts."""
    failing(MemoryError())(return_state=True)

    (run,) = ran.runs()
    assert run.state is not None and run.state.details is not None
    assert run.state.name == "Failed"
    assert run.state.details["evidence"]["peak_memory_bytes"] > 1_000_000


def test_a_cancelled_asyncio_task_is_cancelled(ran: Harness) -> None:
    """Whoever cancels a coroutine gets the cancellation, and the run is Cancelled."""

    @flow(name="f")
    async def f() -> None:
        await asyncio.sleep(20)

    async def main() -> None:
        running = asyncio.ensure_future(f())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())

    assert steps(ran.runs()[0]) == ["Pending", "Running", "Cancelled"]


def print_nothing() -> None:
    """Stand for any function."""


@pytest.mark.parametrize("make", [flow, task])
def test_what_cannot_be_decorated_is_refused_clearly(make: Any) -> None:
    """Generators are not taken yet, and decorators have an order."""

    def generator() -> Any:
        yield 1

    async def async_generator() -> Any:
        yield 1

    for fn in (generator, async_generator):
        with pytest.raises(TypeError, match="generator function yet"):
            make(fn)
    with pytest.raises(TypeError, match="is for functions; it was given int"):
        make(5)
    with pytest.raises(TypeError, match="Put @staticmethod above"):
        make(staticmethod(lambda: None))
    with pytest.raises(TypeError, match="Put @classmethod above"):
        make(classmethod(lambda cls: None))
    with pytest.raises(TypeError, match="nmae"):
        make(print_nothing).with_options(nmae="x")
    with pytest.raises(TypeError):
        make(nmae="x")(print_nothing)


def test_the_terminal_shows_the_users_frames_only(script: Script) -> None:
    """An uncaught error prints as if the decorators were not there; chains and notes too."""
    done = script.run(
        """
        import asyncio
        from headrace import flow, task

        @task
        async def load():
            try:
                {}["missing"]
            except KeyError as error:
                raise ValueError("cannot load") from error

        @flow
        async def child():
            await load()

        @task(timeout_seconds=30)
        def around():
            asyncio.run(child())

        @flow(timeout_seconds=30)
        def parent():
            around.submit().result()

        parent()
        """,
        check=False,
    )

    shown = done.stderr[done.stderr.index("Traceback") :]
    files = {line.split('"')[1] for line in shown.splitlines() if line.startswith("  File ")}
    assert done.returncode == 1
    assert "ValueError: cannot load" in shown.splitlines()[-1]
    assert "KeyError: 'missing'" in shown
    assert [name for name in ("in parent", "in around", "in child", "in load") if name not in shown] == []
    assert [path for path in files if "headrace" in path.replace(str(script.folder), "")] == []
    assert [path for path in files if "contextlib" in path] == []


def test_a_timeout_prints_where_the_code_stood(script: Script) -> None:
    """Not where the engine noticed."""
    done = script.run(
        """
        import threading
        from headrace import flow

        @flow(timeout_seconds=0.1)
        def slow():
            threading.Event().wait(20)

        slow()
        """,
        check=False,
    )

    shown = done.stderr[done.stderr.index("Traceback") :]
    assert "headrace.errors.FlowRunTimeout" in shown.splitlines()[-1]
    assert "in slow" in shown
    assert "contextlib.py" not in shown
    assert "/engine/" not in shown
