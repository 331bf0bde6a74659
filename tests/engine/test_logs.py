"""Logs of runs: whose they are, what is kept, and that no text can break them."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import pytest

from headrace import flow, get_run_logger, task
from headrace.exceptions import MissingContextError
from headrace.journal.reader import iterate
from headrace.journal.spool import Spool
from headrace.logging import disable_run_logger, get_logger
from headrace.model import entries
from headrace.testing import Harness, headrace_test_harness

from .conftest import Script


def records(ran: Harness) -> list[entries.Log]:
    """Return the log records so far, but for the engine's own: a root flow's first and its last."""
    found = [
        e for f in Spool(ran.home).folders() for _, e in iterate(f.journal) if isinstance(e, entries.Log)
    ]
    return found[1:-1]


def test_each_line_belongs_to_the_innermost_run(ran: Harness) -> None:
    """Of a flow, a subflow and a task, with level and logger."""

    @task(name="t")
    def t() -> None:
        get_run_logger().warning("in %s", "task")

    @flow(name="child")
    async def child() -> None:
        get_run_logger().error("in child")

    @flow(name="f")
    def f() -> None:
        get_run_logger().info("in flow")
        t()
        t.submit().wait()
        asyncio.run(child())

    f()

    (parent,), (inner,) = ran.flow_runs("f"), ran.flow_runs("child")
    tasks = ran.task_runs("t")
    assert [(r.message, r.level, r.logger, r.flow_run, r.task_run) for r in records(ran)] == [
        ("in flow", 20, "headrace.flow_runs", parent.id, None),
        ("in task", 30, "headrace.task_runs", parent.id, tasks[0].id),
        ("in task", 30, "headrace.task_runs", parent.id, tasks[1].id),
        ("in child", 40, "headrace.flow_runs", inner.id, None),
    ]


def test_log_prints_takes_print_into_the_log(ran: Harness, capsys: pytest.CaptureFixture[str]) -> None:
    """For the run and what it calls, unless they say otherwise; ``file=`` and other code keep the real print."""
    import io

    @task(name="quiet", log_prints=False)
    def quiet() -> None:
        print("to the terminal")

    @task(name="inherits")
    def inherits() -> None:
        print("one", 2, sep="-", end="!")

    @flow(name="f", log_prints=True)
    def f() -> None:
        elsewhere = io.StringIO()
        print("to a file", file=elsewhere)
        assert elsewhere.getvalue() == "to a file\n"
        print("from the flow")
        print("to stderr", file=sys.stderr)
        inherits()
        inherits.submit().wait()
        quiet()

    f()
    print("outside")

    assert [r.message for r in records(ran)] == ["from the flow", "to stderr", "one-2", "one-2"]
    assert capsys.readouterr().out == "to the terminal\noutside\n"


def test_a_run_logger_outside_a_run_says_what_to_do() -> None:
    """It would have no run to log to."""
    with pytest.raises(MissingContextError, match="decorated with @flow or @task"):
        get_run_logger()


def test_a_tasks_function_can_be_tested_by_itself() -> None:
    """``disable_run_logger`` lets the logger work outside runs, and say nothing."""

    @task
    def t() -> str:
        get_run_logger().info("silent")
        return "done"

    with disable_run_logger():
        assert t.fn() == "done"
    with pytest.raises(MissingContextError):
        t.fn()


def test_levels_below_the_setting_are_left_out(ran: Harness) -> None:
    """INFO unless set."""

    @flow
    def f() -> None:
        get_run_logger().debug("debug")
        get_run_logger().info("info")

    f()

    assert [r.message for r in records(ran)] == ["info"]


def test_every_text_is_kept(ran: Harness) -> None:
    """Non-ASCII, surrogates, NUL, lines, percent signs, and a very long one, cut with its length told."""
    texts = ["grüße 🎉", "half \ud800 pair", "nul \x00", "two\nlines\r\n", "100% of %s", "x" * 2_000_000]

    @flow
    def f() -> None:
        for text in texts:
            get_run_logger().info(text)

    f()

    found = [r.message for r in records(ran)]
    assert found[0] == texts[0]
    assert found[1] == "half \\ud800 pair"
    assert found[2:5] == texts[2:5]
    assert len(found[5]) < 1_100_000
    assert "2000000 characters in all" in found[5]


def test_a_broken_log_call_does_not_fail_the_run(ran: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong arguments, or an object whose text cannot be made."""
    monkeypatch.setattr(logging, "raiseExceptions", False)

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @flow
    def f() -> str:
        get_run_logger().info("%s and %s", 1)
        get_run_logger().info(Broken())
        return "fine"

    assert f() == "fine"


def test_exceptions_are_logged_with_the_users_frames(ran: Harness) -> None:
    """``logger.exception`` adds the traceback to the message."""

    @flow
    def f() -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            get_run_logger().exception("it broke")

    f()

    (record,) = records(ran)
    assert record.message.startswith("it broke\nTraceback (most recent call last):")
    assert "KeyError: 'inner'" in record.message
    assert "/engine/" not in record.message.replace(__file__, "")


def test_loggers_of_the_users_libraries_join_by_setting(script: Script) -> None:
    """``HEADRACE_LOGGING_EXTRA_LOGGERS`` names them; others stay out of the run's log."""
    script.run(
        """
        import logging
        from headrace import flow

        @flow(name="f")
        def f():
            logging.getLogger("mylib.part").info("from my library")
            logging.getLogger("second").warning("from the second")
            logging.getLogger("stranger").warning("from a stranger")

        f()
        logging.getLogger("mylib").info("outside any run")
        """,
        HEADRACE_LOGGING_EXTRA_LOGGERS="mylib, second",
    )

    (folder,) = Spool(script.home).folders()
    found = [(e.logger, e.message) for _, e in iterate(folder.journal) if isinstance(e, entries.Log)]
    assert ("mylib.part", "from my library") in found
    assert ("second", "from the second") in found
    assert [pair for pair in found if "stranger" in pair[0] or "outside" in pair[1]] == []


def test_run_logs_reach_pytests_caplog(caplog: pytest.LogCaptureFixture) -> None:
    """With the run beside the record, as for any logger; the engine logs nothing twice."""

    @flow(name="f", flow_run_name="named")
    def f() -> None:
        get_run_logger().info("seen", extra={"mine": 1})

    f()

    (record,) = [record for record in caplog.records if record.message == "seen"]
    found: Any = record
    assert (found.flow_name, found.flow_run_name, found.mine) == ("f", "named", 1)


def test_the_console_shows_lines_on_standard_error(script: Script) -> None:
    """Time, level, run; once; and nothing when the setting says so or user code has set up logging itself."""
    code = """
    import sys
    if len(sys.argv) > 1:
        import logging
        logging.basicConfig(format="mine: %(message)s", level="INFO")
    from headrace import flow, get_run_logger

    @flow(name="f", flow_run_name="named")
    def f():
        get_run_logger().info("a line")

    f()
    """

    shown = script.run(code).stderr.splitlines()
    silent = script.run(code, HEADRACE_LOGGING_CONSOLE="false")
    theirs = script.run(code, "basic").stderr.splitlines()

    lines = [line for line in shown if "a line" in line]
    assert len(lines) == 1
    assert "| INFO    | Flow run 'named' - a line" in lines[0]
    assert "Completed" in shown[-1]
    assert silent.stdout == silent.stderr == ""
    assert [line for line in theirs if "a line" in line] == ["mine: a line"]


def test_plain_loggers_have_the_projects_name() -> None:
    """For code that logs outside runs."""
    assert get_logger().name == "headrace"
    assert get_logger("part").name == "headrace.part"


def test_with_recording_off_nothing_is_written_and_all_works() -> None:
    """The setting for tests and for those who want the functions only."""
    with headrace_test_harness(record=False, logging_console=False) as harness:

        @task
        def t(x: int) -> int:
            get_run_logger().info("x")
            return x + 1

        @flow
        def f() -> int:
            return t(1) + t.submit(1).result() + sum(t.map([1, 2]).result())

        assert f() == 9
        assert not (harness.home / "spool").exists()
