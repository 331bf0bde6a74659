"""Whether a flow notices that the server is away: the time that it takes itself, with the server there and without."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .measure import Measurement, Row, Samples, private_home
from .servers import Server, serving
from .side import Side

_TITLE = "300 tasks and 900 log lines in 3 s: growth of the flow's own time while the server is frozen"
FROZEN = Row(_TITLE, "%", 2)
GONE = Row("the same, where nobody listens at the server's address", "%", 2)
FROZEN_PIECES = Row("server frozen: growth of the sum of its pieces, each at its fastest of ten runs", "%", 2)
GONE_PIECES = Row("nobody listens: the same", "%", 2)

_ROUNDS = 10
_SHIPPED_S = 60.0
_NOBODY = "http://127.0.0.1:9/api"
_PATIENCE_S = 0.5
"""How long a companion goes on that has nobody to ship to, once its script has ended."""


Times = list[float]
"""Seconds: of the whole flow, then of each of its pieces."""


def take(side: Side) -> Samples:
    """Run the same script in turn with the server there, frozen and gone; compare the fastest run of each kind.

    What other processes take from a run makes it slower, never faster. On a busy machine no run of three seconds is
    left alone, but each of its pieces is in some run: the fastest of each, put together, tell the flow's own time.
    """
    with private_home() as home, serving(side, home) as server:
        _run(side, server.api)  # what is loaded once is loaded then
        rounds = [_round(side, server, turned=number % 2 == 1) for number in range(_ROUNDS)]
    there, frozen, gone = (_fastest(runs) for runs in zip(*rounds, strict=True))
    return {
        FROZEN.title: [(frozen[0] / there[0] - 1) * 100],
        GONE.title: [(gone[0] / there[0] - 1) * 100],
        FROZEN_PIECES.title: [(sum(frozen[1:]) / sum(there[1:]) - 1) * 100],
        GONE_PIECES.title: [(sum(gone[1:]) / sum(there[1:]) - 1) * 100],
    }


def _fastest(runs: Sequence[Times]) -> Times:
    return [min(times) for times in zip(*runs, strict=True)]


def _round(side: Side, server: Server, *, turned: bool) -> tuple[Times, Times, Times]:
    """Return the times of one run of each kind; which is first changes, as machines warm up and slow down."""
    gone = _run(side, None) if turned else None
    there = None if turned else _run(side, server.api)
    with _frozen(server):
        frozen = _run(side, server.api, shipped=False)
    return there or _run(side, server.api), frozen, gone or _run(side, None)


def _run(side: Side, api: str | None, *, shipped: bool = True) -> Times:
    """Run the script in a home of its own; return what it measured."""
    with private_home() as home:
        environ = {**side.environment(home), "HEADRACE_API_URL": api or _NOBODY}
        if api is None or not shipped:
            environ["HEADRACE_SHIP_PATIENCE"] = str(_PATIENCE_S)
        done = subprocess.run(
            side.program("steady", home),
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"The script ended with {done.returncode}:\n{done.stderr[-3000:]}")
        _wait_for_companion(home)
        return [float(word) for word in done.stdout.split()]


def _wait_for_companion(home: Path) -> None:
    """Wait until its companion has ended: it is not to work beside the next run."""
    until = time.monotonic() + _SHIPPED_S
    while any(_companions(home)):
        if time.monotonic() > until:
            raise RuntimeError(f"A companion goes on after {_SHIPPED_S:g} s.")
        time.sleep(0.05)


def _companions(home: Path) -> Iterator[int]:
    mark = b"HEADRACE_HOME=" + os.fsencode(home)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)
            except OSError:
                continue  # it has ended


@contextmanager
def _frozen(server: Server) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


MEASUREMENT = Measurement([FROZEN, GONE, FROZEN_PIECES, GONE_PIECES], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
