"""One line at a terminal that tells how far a long flow is; nothing anywhere else."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any

_AFTER_SECONDS = 2.0
"""Flows shorter than this show nothing."""

_EVERY_SECONDS = 0.25
_line: list[str] = []
_threads: dict[str, threading.Event] = {}


def start(run: Any) -> None:
    """Begin to show a root flow's progress, if standard error is a terminal."""
    stream = sys.stderr
    if not run.recorder.settings.progress or not run.recorder.settings.logging_console:
        return
    if stream is None or not getattr(stream, "isatty", bool)() or threading.active_count() > 200:
        return
    stopped = threading.Event()
    _threads[run.id] = stopped
    threading.Thread(target=_show, args=(run, stopped, stream), name="headrace-progress", daemon=True).start()


def stop(run: Any) -> None:
    """Take the line away."""
    stopped = _threads.pop(run.id, None)
    if stopped is not None:
        stopped.set()
        clear(sys.stderr)


def clear(stream: Any) -> None:
    """Remove the line, so that something else can be written in its place."""
    if _line and stream is not None:
        _line.clear()
        stream.write("\r\x1b[2K")


def _show(run: Any, stopped: threading.Event, stream: Any) -> None:
    if stopped.wait(_AFTER_SECONDS):
        return
    while not stopped.wait(_EVERY_SECONDS):
        with contextlib.suppress(OSError, ValueError):
            clear(stream)
            seconds = (run.recorder.now() - run.created_us) // 1_000_000
            running = run.started - run.finished
            failed = f", {run.failed} failed" if run.failed else ""
            text = f"{run.name}: {run.finished - run.failed} tasks done, {running} running{failed} ({seconds // 60}:{seconds % 60:02d})"
            _line.append(text)
            stream.write(text)
            stream.flush()
