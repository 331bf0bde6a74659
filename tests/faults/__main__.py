"""``python -m tests.faults --seeds 100``: so many blows at random instants; status 1 when anything came of them."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from headrace.testing.postgres import Cluster

from .pgbouncer import PgBouncer
from .storm import Storm


def main() -> int:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="crash a private PostgreSQL and end its connections; without it the server is killed, on SQLite",
    )
    parser.add_argument(
        "--server", action="store_true", help="with --postgres: kill the server too, in the same storm"
    )
    parser.add_argument(
        "--pooler",
        metavar="PGBOUNCER",
        help="with --postgres: put this program before it, in transaction mode",
    )
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headrace-faults-"))
    began = time.monotonic()
    with contextlib.ExitStack() as closing:
        cluster = closing.enter_context(Cluster()) if asked.postgres else None
        pooler = PgBouncer(asked.pooler, cluster) if asked.pooler and cluster is not None else None
        if pooler is not None:
            closing.callback(pooler.close)
        way = pooler.url if pooler is not None else None
        storm = closing.enter_context(
            Storm(folder, cluster=cluster, strikes_server=asked.server, way=way, say=_say)
        )
        try:
            storm.blow(range(asked.first, asked.first + asked.seeds))
        except AssertionError as error:
            _say(f"FAULT in {error}\nEverything is kept in {folder}")
            return 1
    _say(
        f"{asked.seeds} seeds, {storm.runs} runs, {time.monotonic() - began:.0f} s: {dict(storm.blows)}; no fault"
    )
    shutil.rmtree(folder)
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
