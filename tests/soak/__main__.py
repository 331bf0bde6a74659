"""``python -m tests.soak --minutes 10 --seed 1``: soak, print the seed and what came of it; status 1 for any fault."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from headrace.testing.postgres import Cluster

from .soak import Soak


def main() -> int:
    """Soak as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="a number; without it one is drawn and told")
    parser.add_argument(
        "--postgres", action="store_true", help="on a private PostgreSQL; without it on SQLite"
    )
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    sys.stdout.write(f"seed {seed}\n")
    folder = Path(tempfile.mkdtemp(prefix="headrace-soak-"))
    with Cluster() if asked.postgres else nullcontext() as cluster:
        url = cluster.create("soak") if cluster is not None else None
        found = Soak(folder, seed=seed, database_url=url, say=_say).run(asked.minutes * 60)
    sys.stdout.write(found.told() + "\n" + (f"Everything is kept in {folder}\n" if found.faults else ""))
    return 1 if found.faults else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
