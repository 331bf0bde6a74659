"""Whether a flow notices that the server is away for a minute: what its pieces take before, meanwhile and afterwards."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

from .measure import Measurement, Row, Samples, private_home
from .servers import serving
from .side import Side

ROW = Row(
    "a task and three log lines every 10 ms: growth of the time of one, by the median, while the server is frozen for a minute",
    "%",
    2,
)
MACHINE = Row("the same, of the work inside the tasks alone: what the machine does meanwhile", "%")
BESIDE = Row("the same, of all but that work, in percent of the whole piece", "%", 2)
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
            pieces = [Piece(*map(float, line.split())) for line in output]
    during = [[piece for piece in pieces if begin < piece.done < end] for begin, end in spells]
    whole, work, beside = (
        _growth([statistics.median(map(of, spell)) for spell in during]) for of in (_whole, _work, _beside)
    )
    before = statistics.median(map(_whole, during[0]))
    return {
        ROW.title: [grown / before * 100 for grown in whole],
        MACHINE.title: [grown / before * 100 for grown in work],
        BESIDE.title: [grown / before * 100 for grown in beside],
    }


class Piece(NamedTuple):
    """What the program printed of one; seconds."""

    done: float
    took: float
    worked: float


def _whole(piece: Piece) -> float:
    return piece.took


def _work(piece: Piece) -> float:
    return piece.worked


def _beside(piece: Piece) -> float:
    return piece.took - piece.worked


def _growth(spells: Sequence[float]) -> list[float]:
    """Return by how much each spell with the server frozen took longer than those around it."""
    around = zip(spells[0::2], spells[1::2], spells[2::2], strict=False)
    return [frozen - (before + after) / 2 for before, frozen, after in around]


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


MEASUREMENT = Measurement([ROW, MACHINE, BESIDE], take)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
