"""The ``headrace.yaml`` that ``headrace init`` writes: what is there, and beside it in comments what may be."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_HEAD = """\
# Deployments of this folder's flows. `headrace deploy --all` has the server keep them all, `headrace deploy -n NAME` one.
# {{ $NAME }} means an environment variable: of whoever deploys, and in `pull` and `job_variables` of the worker.

"""

_PULL = """\
# Where a run's code comes from. Without this it is this folder, which the worker must then see under the same path.
# pull:
#   - headrace.deployments.steps.git_clone:
#       repository: %s
#       branch: main
#       credentials:
#         access_token: "{{ $GIT_TOKEN }}"   # the name of a secret, never the secret

"""

_ENTRY = """\
  - name: %s
    entrypoint: %s
    work_pool:
      name: main                   # `headrace work-pool create main` makes it
%s"""

_MORE = """\
      # work_queue_name: default
      # job_variables: {memory_limit: 1GiB, env: {STAGE: test}}
    # parameters: {region: north}
    # schedules:
    #   - {cron: "30 6 * * MON-FRI", timezone: Europe/Berlin}
    #   - {interval: 3600}
    # concurrency_limit: 1
    # tags: [nightly]
    # description: what it is for
"""


def text_of(folder: Path, flows: list[tuple[Path, str]]) -> str:
    """Return the file for the flows that were found, or for one made up."""
    found = flows or [(Path("flows.py"), "my_flow")]
    names = _names([name for _, name in found])
    parts = [
        _ENTRY % (name, f"{path.as_posix()}:{function}", _MORE if number == 0 else "")
        for number, (name, (path, function)) in enumerate(zip(names, found, strict=True))
    ]
    return _HEAD + _PULL % _remote_of(folder) + "deployments:\n" + "".join(parts)


def _names(functions: list[str]) -> list[str]:
    """Return names for deployments, each its own."""
    taken: dict[str, int] = {}
    names = []
    for function in functions:
        name = function.replace("_", "-")
        taken[name] = taken.get(name, 0) + 1
        names.append(name if taken[name] == 1 else f"{name}-{taken[name]}")
    return names


def _remote_of(folder: Path) -> str:
    """Return the address of the folder's repository without anything secret, or an example."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "remote", "get-url", "origin"],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "https://example.com/team/flows.git"
    address = done.stdout.strip()
    return re.sub(r"(https?://)[^/@]*@", r"\1", address) or "https://example.com/team/flows.git"
