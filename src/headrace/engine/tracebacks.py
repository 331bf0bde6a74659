"""Tracebacks for people: the user's frames, not the engine's; and exceptions as evidence."""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
from types import FrameType, TracebackType
from typing import Any

_HERE = os.path.dirname(__file__)  # noqa: PTH120  # pathlib is 3 ms that importing headrace need not take
_PACKAGE = os.path.dirname(_HERE)  # noqa: PTH120
_OURS = (f"{_HERE}/", f"{_PACKAGE}/sources/", f"{_PACKAGE}/flow_process.py")
_MESSAGE_LIMIT = 10_000
_TRACEBACK_LIMIT = 32_000
_CHAIN_LIMIT = 10
_MEMBER_LIMIT = 15
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())  # Python 3.11 and later


def is_ours(frame: FrameType) -> bool:
    """Say whether a frame is the engine's own."""
    return is_ours_file(frame.f_code.co_filename)


def is_ours_file(name: str) -> bool:
    """Say whether a source file is the engine's own."""
    return name.startswith(_OURS)


def strip(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback without the engine's frames."""
    kept: list[TracebackType] = []
    while traceback is not None:
        if not is_ours(traceback.tb_frame):
            kept.append(traceback)
        elif kept and kept[-1].tb_frame.f_code.co_filename == contextlib.__file__:
            kept.pop()  # how a context manager of the engine's is entered and left
        traceback = traceback.tb_next
    rebuilt: TracebackType | None = None
    for part in reversed(kept):
        rebuilt = TracebackType(rebuilt, part.tb_frame, part.tb_lasti, part.tb_lineno)
    return rebuilt


def strip_chain(error: BaseException) -> BaseException:
    """Take the engine's frames out of an exception and of all that caused it; return it."""
    for link, _ in chain(error):
        link.__traceback__ = strip(link.__traceback__)
        for part in members(link):
            strip_chain(part)
    return error


def members(error: BaseException) -> list[BaseException]:
    """Return the exceptions of an exception group, the first fifteen; none for any other exception."""
    held: Any = error
    return list(held.exceptions[:_MEMBER_LIMIT]) if isinstance(error, _GROUP) else []


def chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """Return ``[(exception, how it leads to the one before), ...]``, outermost first; at most ten.

    ``how`` is ``cause`` (``raise ... from``), ``context`` (raised while handling), or empty for the first.
    """
    found: list[tuple[BaseException, str]] = []
    seen: set[int] = set()
    current: BaseException | None = error
    how = ""
    while current is not None and id(current) not in seen and len(found) < _CHAIN_LIMIT:
        found.append((current, how))
        seen.add(id(current))
        if current.__cause__ is not None:
            current, how = current.__cause__, "cause"
        elif current.__context__ is not None and not current.__suppress_context__:
            current, how = current.__context__, "context"
        else:
            current = None
    return found


def safe_text(error: BaseException) -> str:
    """Return an exception's text, whatever its ``__str__`` does, cut with its full length told."""
    try:
        text = str(error)
    except BaseException as broken:
        text = f"<its text cannot be made: __str__ raised {type(broken).__name__}>"
    if len(text) > _MESSAGE_LIMIT:
        text = f"{text[:_MESSAGE_LIMIT]}... [cut; {len(text)} characters in all]"
    return text.encode("utf-8", "backslashreplace").decode()


def type_name(error: BaseException) -> str:
    """Return ``ValueError`` for a builtin, ``package.module.Name`` otherwise."""
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__")
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def headline(error: BaseException) -> str:
    """Return one line: type and text, with the root cause named when there is another."""
    links = chain(error)
    line = _line(error)
    if len(links) > 1:
        line += f" (root cause: {_line(links[-1][0])})"
    parts = members(error)
    if parts:
        line += f" (the first: {headline(parts[0])})"
    return line


def _line(error: BaseException) -> str:
    text = safe_text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def format_user(error: BaseException) -> str:
    """Return the whole traceback as Python prints it, with the user's frames only."""
    parts: list[str] = []
    for link, how in reversed(chain(error)):
        parts.append(_format_one(link))
        if how == "cause":
            parts.append("\nThe above exception was the direct cause of the following exception:\n")
        elif how == "context":
            parts.append("\nDuring handling of the above exception, another exception occurred:\n")
    text = "\n".join(parts)
    if len(text) > _TRACEBACK_LIMIT:
        half = _TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n... [{len(text) - 2 * half} characters left out] ...\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


def _format_one(error: BaseException) -> str:
    import traceback  # only failures need it; importing headrace must not

    lines = []
    frames = strip(error.__traceback__)
    if frames is not None:
        lines.append("Traceback (most recent call last):\n")
        lines.extend(traceback.format_tb(frames))
    lines.append(f"{type_name(error)}: {safe_text(error)}" if safe_text(error) else type_name(error))
    notes = getattr(error, "__notes__", None)  # user code may have put anything there
    lines.extend(f"\n{note}" for note in (notes if isinstance(notes, list) else ()) if isinstance(note, str))
    for number, part in enumerate(members(error), 1):
        lines.append(f"\n  Exception {number} of the group:\n" + _indented(format_user(part)))
    return "".join(lines)


def _indented(text: str) -> str:
    return "\n".join("  | " + line for line in text.splitlines())


def evidence(error: BaseException) -> dict[str, Any]:
    """Return an exception as evidence for a state: type, message, traceback, the whole chain."""
    links = chain(error)
    found: dict[str, Any] = {
        "type": type_name(error),
        "message": safe_text(error),
        "traceback": format_user(error),
    }
    if len(links) > 1:
        found["chain"] = [
            {"type": type_name(link), "message": safe_text(link), **({"how": how} if how else {})}
            for link, how in links
        ]
        root = links[-1][0]
        found["root_cause"] = {"type": type_name(root), "message": safe_text(root)}
    parts = members(error)
    if parts:
        found["exceptions"] = [{"type": type_name(part), "message": safe_text(part)} for part in parts]
    if isinstance(error, SystemExit):
        found["exit_code"] = (
            error.code if isinstance(error.code, (int, str, type(None))) else repr(error.code)
        )
    return found


def install_excepthook() -> None:
    """Print uncaught exceptions without the engine's frames, unless somebody replaced the hook already."""
    if sys.excepthook is not sys.__excepthook__:
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        error.__traceback__ = traceback
        strip_chain(error)
        sys.__excepthook__(kind, error, error.__traceback__)

    sys.excepthook = hook
