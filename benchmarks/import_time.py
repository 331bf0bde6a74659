"""``from PACKAGE import flow, task`` in a fresh interpreter, over a bare one."""

from __future__ import annotations

from .measure import Measurement, Row, Samples, private_home
from .processes import run
from .side import Side

ROW = Row("`from headrace import flow, task`, over a bare interpreter", "ms", 45)
_REPETITIONS = {False: 15, True: 5}


def take(side: Side) -> Samples:
    """Alternate bare and importing interpreters, so that a busy moment meets both; the difference of each pair."""
    values = []
    with private_home() as home:
        environment = side.environment(home)
        bare = [side.python, "-c", "pass"]
        importing = [side.python, "-c", f"from {side.package} import flow, task"]
        run(importing, environment)  # writes the compiled bytecode
        for _ in range(_REPETITIONS[side.is_peer]):
            base = run(bare, environment).seconds
            values.append((run(importing, environment).seconds - base) * 1e3)
    return {ROW.title: values}


MEASUREMENT = Measurement([ROW], take, peer=True)

if __name__ == "__main__":
    from .table import main

    main(MEASUREMENT)
