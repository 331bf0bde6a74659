"""Find the largest files below a folder.

A flow is a function whose calls are runs; a task is a step of it. They are called like any function.

    python first_flow.py ~/projects
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from headrace import flow, task


@task
def sizes_below(folder: Path) -> dict[str, int]:
    """Return ``{path: bytes}`` of every file that can be read."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                found[str(path)] = path.stat().st_size
    return found


@task
def largest(sizes: dict[str, int], count: int) -> list[str]:
    """Return the paths of the largest files, the largest first."""
    return sorted(sizes, key=lambda path: (-sizes[path], path))[:count]


@flow(log_prints=True)
def largest_files(folder: Path, count: int = 5) -> list[str]:
    """Print the largest files below a folder, and return their paths."""
    sizes = sizes_below(folder)
    top = largest(sizes, count)
    for path in top:
        print(f"{sizes[path]:>13,} bytes  {path}")
    return top


if __name__ == "__main__":
    arguments = sys.argv[1:]
    largest_files(Path(arguments[0] if arguments else "."), int(arguments[1]) if arguments[1:] else 5)
