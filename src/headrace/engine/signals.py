"""SIGTERM and cancels: how a run that is told to end hears of it.

The supervisor writes what it asks into the journal's ``commands`` file and sends SIGTERM. A SIGTERM without
such a file came from somebody else. The handler is ours only while a flow runs in the main thread, and only
if nobody else had set one.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import TerminationSignal
from .outcome import LoopInterrupted

if TYPE_CHECKING:
    from .run import Run

_NOTHING = contextlib.nullcontext()


def guarded(run: Run) -> contextlib.AbstractContextManager[None]:
    """Listen for SIGTERM while a root flow runs in the main thread."""
    if run.parent is not None or not run.is_flow:
        return _NOTHING
    if threading.current_thread() is not threading.main_thread():
        return _NOTHING
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return _NOTHING
    return _listening(run)


@contextlib.contextmanager
def _listening(run: Run) -> Iterator[None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        if run.recorder.muted_by_fork:  # a forked child inherits the handler, not the run
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
            return
        _say_heard(run)
        again = run.termination is not None
        run.termination = error = _why(run)
        if run.loop is not None and run.asyncio_task is not None and not again:
            # Raising inside the event loop would break it; the task hears of it at its next await.
            run.loop.call_soon_threadsafe(run.asyncio_task.cancel)
            return
        raise error

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is handle:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _say_heard(run: Run) -> None:
    """Tell the supervisor that the signal need not be sent again."""
    folder = run.recorder.folder
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.heard.touch()


def _why(run: Run) -> TerminationSignal:
    folder = run.recorder.folder
    command = _read_command(folder.commands) if folder is not None else None
    if command is None:
        return TerminationSignal(
            "Ended by SIGTERM from outside; nobody had asked for a cancel.", cancelled=False
        )
    who, at = command.get("who"), command.get("at")
    by = f" by {who}" if who else ""
    return TerminationSignal(
        f"Cancelled as asked{by} at {at or 'an unknown time'}.", cancelled=True, who=who, at=at
    )


def _read_command(path: Path) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return found if isinstance(found, dict) and found.get("action") == "cancel" else None


def translate(run: Run, error: BaseException) -> BaseException:
    """Return what really ended async code: asyncio shows a cancel, and Ctrl-C, as its ``CancelledError``."""
    if not type(error).__name__.startswith("Cancelled"):
        return error
    root: Any = run
    while root.parent is not None:
        root = root.parent
    if root.termination is not None:
        return root.termination  # type: ignore[no-any-return]
    if _was_interrupted():
        return LoopInterrupted(error)
    return error


def _was_interrupted() -> bool:
    """Say whether asyncio's runner turned a Ctrl-C into this cancellation (Python 3.11 and later)."""
    handler: Any = signal.getsignal(signal.SIGINT)
    runner = getattr(getattr(handler, "func", None), "__self__", None)
    return bool(getattr(runner, "_interrupt_count", 0))
