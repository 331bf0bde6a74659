"""Runs what a pull step starts beside git: a shell script, pip."""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from ..errors import LoadError

_KEPT_LINES = 10_000
"""How many lines of each stream become the step's output; a command that prints more is not read for its output."""


class Finished(dict[str, str]):
    """What a command printed: ``stdout`` and ``stderr``, stripped."""


def run(
    command: Sequence[str],
    *,
    what: str,
    cwd: Path,
    environ: Mapping[str, str],
    stream: bool,
) -> Finished:
    """Run a command to its end; with ``stream``, print its lines as they come.

    Raises:
        LoadError: it cannot be started or ends with another exit code than 0; told with its last line.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise LoadError(f"{what} cannot be started in {cwd}: {error}.", tried=str(cwd)) from error
    try:
        out, err = _read(process, stream)
        process.wait()
    except BaseException:  # told to end meanwhile: nothing of it may go on
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        last = next((line for line in [*reversed(err), *reversed(out)] if line.strip()), "").strip()
        told = f" Its last line: {last}" if last else ""
        raise LoadError(f"{what} ended with exit code {process.returncode} in {cwd}.{told}", tried=str(cwd))
    return Finished(stdout="".join(out).strip(), stderr="".join(err).strip())


def _read(process: subprocess.Popen[str], stream: bool) -> tuple[deque[str], deque[str]]:
    """Read both streams at once: a command that fills one while we wait for the other would hang."""
    assert process.stdout is not None and process.stderr is not None
    out: deque[str] = deque(maxlen=_KEPT_LINES)
    err: deque[str] = deque(maxlen=_KEPT_LINES)
    beside = threading.Thread(target=_take, args=(process.stderr, err, stream), daemon=True)
    beside.start()
    _take(process.stdout, out, stream)
    beside.join()
    return out, err


def _take(pipe: IO[str], lines: deque[str], stream: bool) -> None:
    with pipe:
        for line in pipe:
            lines.append(line)
            if stream:
                print(line, end="", flush=True)  # noqa: T201 - what a run prints is its log
