"""Whether a flow notices that the server is away for a minute: what its pieces take before, meanwhile and afterwards."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import tempfile
import time

from .measure import Measurement, Row, Samples, private_home
from .servers import serving
from .side import Side

ROW = Row(
    "a task and three log lines every 10 ms: growth of the time of one, by the median, while the server is frozen for a minute",
    "%",
    2,
)
SPELL_S = 60.0
_SETTLE_S = 3.0
"""What follows a change is left out: the companion ships what has come together, on the same two cores."""

_ROUNDS = 3


def take(side: Side) -> Samples:
    """Run one flow for seven minutes: in each second one the server is frozen, and compared with those around it."""
    with private_home() as home, serving(side, home) as server:
        environ = {**side.environment(home), "HEADRACE_API_URL": server.api}
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(side.program("minutes", home), env=environ, stdout=output, text=True)
            try:
                spells = _spells(server.pid)
            finally:
                (home / "enough").touch()
            if process.wait(60):
                raise RuntimeError(f"The script ended with {process.returncode}.")
            output.seek(0)
            pieces = [(float(done), float(took)) for done, took in map(str.split, output)]
    typical = [
        statistics.median(took for done, took in pieces if begin < done < end) for begin, end in spells
    ]
    around = zip(typical[0::2], typical[1::2], typical[2::2], strict=False)
    return {ROW.title: [(frozen / ((before + after) / 2) - 1) * 100 for before, frozen, after in around]}


def _spells(server: int) -> list[tuple[float, float]]:
    """Let the server work and freeze it in turn; return from when to when each spell was (seconds since 1970)."""
    spells = []
    for number in range(2 * _ROUNDS + 1):
        if number % 2:
            os.kill(server, signal.SIGSTOP)
        try:
            time.sleep(_SETTLE_S)
            begin = time.time()
            time.sleep(SPELL_S)
            spells.append((begin, time.time()))
        finally:
            os.kill(server, signal.SIGCONT)
    return spells


MEASUREMENT = Measurement([ROW], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
