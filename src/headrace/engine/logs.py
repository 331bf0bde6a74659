"""Logs of runs: into the journal, and to standard error for whoever watches."""

from __future__ import annotations

import builtins
import contextlib
import logging
import sys
import threading
from typing import Any

from ..errors import MissingContextError
from ..model import entries
from ..model.clock import to_datetime
from . import progress
from .run import Run, current_run

_MESSAGE_LIMIT = 1_000_000
"""Characters of one log message that are kept."""

FLOW_LOGGER = logging.getLogger("headrace.flow_runs")
TASK_LOGGER = logging.getLogger("headrace.task_runs")
_LEVEL_NAMES = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
_inside = threading.local()


class RunLogger(logging.LoggerAdapter):  # type: ignore[type-arg]  # generic only for checkers
    """The logger of one run: what ``get_run_logger()`` returns."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Put the run beside the record; ``extra`` of the call is kept."""
        kwargs["extra"] = {**self.extra, **(kwargs.get("extra") or {})}  # type: ignore[dict-item]
        return msg, kwargs


class JournalHandler(logging.Handler):
    """Write log records of running flows and tasks into the journal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Append one record; it never raises and never logs itself."""
        run = getattr(record, "headrace_run", None) or current_run.get()
        if run is None or getattr(_inside, "busy", False):
            return
        _inside.busy = True
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                from .tracebacks import format_user  # only failures need it

                text += "\n" + format_user(record.exc_info[1])
            _write(run, record.levelno, record.name, text)
            if record.name.startswith("headrace."):
                _show(run, record.levelno, text)
        except Exception:
            self.handleError(record)
        finally:
            _inside.busy = False


_handler = JournalHandler()
_ready = False
_ready_lock = threading.Lock()


def set_up(settings: Any) -> None:
    """Attach the journal to the run loggers, and to the user's loggers that a setting names; once."""
    global _ready
    if _ready:
        return
    with _ready_lock:
        if _was_set_up():
            return
        level = getattr(logging, settings.logging_level.upper())
        for logger in (FLOW_LOGGER, TASK_LOGGER):
            logger.addHandler(_handler)
            if logger.level == logging.NOTSET:
                logger.setLevel(level)
        for name in filter(None, (word.strip() for word in settings.logging_extra_loggers.split(","))):
            extra = logging.getLogger(name)
            extra.addHandler(_handler)
            if extra.getEffectiveLevel() > level:
                extra.setLevel(level)
        _ready = True


def _was_set_up() -> bool:
    return _ready


def run_logger(run: Run) -> RunLogger:
    """Return the logger of a run."""
    found = run._logger
    if found is None:
        set_up(run.recorder.settings)
        extra = {
            "headrace_run": run,
            "flow_run_id": run.flow_run.id if run.flow_run is not None else None,
            "flow_run_name": run.flow_run.name if run.flow_run is not None else None,
            "flow_name": run.flow_run.flow_name if run.flow_run is not None else None,
        }
        if not run.is_flow:
            extra |= {"task_run_id": run.id, "task_run_name": run.name, "task_name": run.definition.name}  # type: ignore[attr-defined]
        found = run._logger = RunLogger(FLOW_LOGGER if run.is_flow else TASK_LOGGER, extra)
    return found  # type: ignore[return-value]


def get_run_logger(context: Any = None, **extra: Any) -> logging.LoggerAdapter[logging.Logger]:
    """Return the logger of the running flow or task; its records are kept with the run.

    Raises:
        MissingContextError: no flow or task is running here.
    """
    run = context if isinstance(context, Run) else current_run.get()
    if run is None:
        if _disabled:
            return logging.LoggerAdapter(_silent, {})
        raise MissingContextError(
            "There is no running flow or task here, so there is no run to log to. Call get_run_logger() inside "
            "a function decorated with @flow or @task, or use get_logger() elsewhere."
        )
    if _disabled:
        return logging.LoggerAdapter(_silent, {})
    logger = run_logger(run)
    return RunLogger(logger.logger, {**logger.extra, **extra}) if extra else logger  # type: ignore[dict-item]


def get_logger(name: str | None = None) -> logging.Logger:
    """Return the logger ``headrace``, or one below it."""
    if name is None:
        return logging.getLogger("headrace")
    return logging.getLogger(name if name.startswith("headrace") else f"headrace.{name}")


_silent = logging.getLogger("headrace.disabled")
_silent.disabled = True
_disabled = 0


@contextlib.contextmanager
def disable_run_logger() -> Any:
    """Let ``get_run_logger()`` work outside runs and say nothing: for testing a task's function by itself."""
    global _disabled
    _disabled += 1
    try:
        yield
    finally:
        _disabled -= 1


def emit(run: Run, level: int, text: str) -> None:
    """Log a line of the engine's own into a run's log; quicker than by way of ``logging``."""
    if level >= run.recorder.level and not run.recorder.muted_by_fork:
        name = FLOW_LOGGER.name if run.is_flow else TASK_LOGGER.name
        _write(run, level, name, text)
        _show(run, level, text)


def _write(run: Run, level: int, logger: str, text: str) -> None:
    recorder = run.recorder
    if not recorder.writes:
        return
    if len(text) > _MESSAGE_LIMIT:
        text = f"{text[:_MESSAGE_LIMIT]}... [cut; {len(text)} characters in all]"
    flow_run = run.flow_run
    recorder.record(
        entries.Log(
            recorder.now(),
            level,
            logger,
            text if text.isascii() else text.encode("utf-8", "backslashreplace").decode(),
            flow_run.id if flow_run is not None else None,
            None if run.is_flow else run.id,
        )
    )


_console: Any = None


def show_on(stream: Any) -> None:
    """Show the logs of runs on ``stream`` instead of standard error."""
    global _console
    _console = stream


def _show(run: Run, level: int, text: str) -> None:
    """Write a line to standard error, unless the user's own logging shows it already."""
    stream: Any = _console or sys.stderr  # None in a program without a console
    if stream is None or not run.recorder.settings.logging_console or logging.root.handlers:
        return
    now = to_datetime(run.recorder.now()).astimezone()
    kind = "Flow run" if run.is_flow else "Task run"
    line = f"{now:%H:%M:%S}.{now.microsecond // 1000:03d} | {_LEVEL_NAMES.get(level, str(level)):<7} | {kind} {run.name!r} - {text}\n"
    with contextlib.suppress(OSError, ValueError):
        progress.clear(stream)
        stream.write(line)
        stream.flush()


_print = builtins.print
_patched = False


def patch_print() -> None:
    """Have ``print`` in runs with ``log_prints`` write to their log; elsewhere it stays what it is."""
    global _patched, _print
    if _patched:
        return
    _patched = True
    _print = builtins.print
    builtins.print = _logging_print


def _logging_print(
    *args: Any, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
) -> None:
    run = current_run.get()
    if run is None or not run.log_prints or file not in (None, sys.stdout, sys.stderr):
        _print(*args, sep=sep, end=end, file=file, flush=flush)
        return
    text = (sep if sep is not None else " ").join(map(str, args))
    run_logger(run).info("%s", text, stacklevel=2)  # the line that printed, not this one
