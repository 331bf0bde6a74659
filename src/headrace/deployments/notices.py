"""What deploying tells the person who did it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable

from .runner import RunnerDeployment

_SHOWN = 3
"""For how many deployments the command is told that runs them; the others go alike."""


def deployed(deployments: Iterable[RunnerDeployment]) -> str:
    """Return the sentences for deployments that the server now keeps, with what to do next."""
    several = list(deployments)
    lines = [f"Deployment {each.full_name} is in work pool {each.work_pool_name}." for each in several]
    pools = list(dict.fromkeys(each.work_pool_name for each in several if each.work_pool_name))
    lines += [f"  a worker for its runs:  headrace worker start --pool {shlex.quote(pool)}" for pool in pools]
    lines += [
        f"  a run of it now:        headrace deployment run {shlex.quote(each.full_name)}"
        for each in several[:_SHOWN]
    ]
    return "\n".join(lines)


def tell(text: str) -> None:
    """Write a notice to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
