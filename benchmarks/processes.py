"""Start a process and account for everything it leaves behind."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

_PR_SET_CHILD_SUBREAPER = 36
_ENOUGH_SECONDS = 900.0


class Ended(NamedTuple):
    """How a process and what it left behind went."""

    output: str
    seconds: float
    """From the start until the process itself had ended."""
    left_behind_cpu: float | None
    """Processor seconds of processes that outlived it, to their end; ``None`` where the kernel cannot tell."""


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    watch: Callable[[float], bool] | None = None,
) -> Ended:
    """Run a program to its end and wait until all that it left behind has ended too.

    ``watch(seconds since the start)`` is called every few milliseconds until it returns true.

    Raises:
        RuntimeError: the program failed; the text holds the end of what it wrote.
        TimeoutError: something did not happen in fifteen minutes.
    """
    reaping = _become_subreaper()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=environment["HOME"],
        )
        seconds, cpu = _reap(process, begin, watch, reaping)
        output.seek(0)
        errors.seek(0)
        told = output.read().decode(errors="replace")
        if process.returncode != 0:
            raise RuntimeError(
                f"{' '.join(command)} ended with {process.returncode}:\n{errors.read().decode(errors='replace')[-3000:]}"
            )
    return Ended(told, seconds, cpu if reaping else None)


def _reap(
    process: subprocess.Popen[bytes],
    begin: float,
    watch: Callable[[float], bool] | None,
    reaping: bool,
) -> tuple[float, float]:
    """Wait for the process, its orphans and the watch; return the process's time and its orphans' processor time."""
    seconds: float | None = None
    cpu = 0.0
    watching = watch is not None
    while True:
        now = time.perf_counter() - begin
        if now > _ENOUGH_SECONDS:
            process.kill()
            raise TimeoutError(f"{process.args!r} had not come to its end after {_ENOUGH_SECONDS:g} s.")
        if watching and watch is not None and watch(now):
            watching = False
        quick = os.WNOHANG if watching else 0
        try:
            pid, status, usage = os.wait4(-1 if reaping else process.pid, quick)
        except ChildProcessError:
            if not watching:
                return seconds or 0.0, cpu
            pid = 0
        if pid == process.pid:
            seconds = time.perf_counter() - begin
            process.returncode = os.waitstatus_to_exitcode(status)
            if not reaping and not watching:
                return seconds, cpu
        elif pid:
            cpu += usage.ru_utime + usage.ru_stime
        else:
            time.sleep(0.003)  # measured by a clock: this only sets how finely the watch looks


def _become_subreaper() -> bool:
    """Have orphans below this process handed to it, so that it can wait for them; Linux only."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
