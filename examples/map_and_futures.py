"""Search many files at once: ``map`` starts a task for each, futures bring their values.

python map_and_futures.py def ~/projects
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from headrace import flow, task, unmapped
from headrace.futures import as_completed


@task(task_run_name="search {path.name}")
def count_matches(path: Path, pattern: str) -> tuple[Path, int]:
    """Return the file with how often the pattern is in it."""
    return path, len(re.findall(pattern, path.read_text(encoding="utf-8")))


@task
def summary(counts: list[tuple[Path, int]]) -> str:
    """Return one sentence about all the files."""
    hits = [count for _, count in counts if count]
    return f"{sum(hits)} matches in {len(hits)} of {len(counts)} files"


@flow(log_prints=True)
def search(pattern: str, folder: Path) -> str:
    """Count a pattern in every Python file below a folder; a file that is no text does not stop the others."""
    files = sorted(folder.rglob("*.py"))
    if not files:
        return "no files"

    # One task run for each file; the pattern is the same for all of them.
    futures = count_matches.map(files, unmapped(pattern))

    counts = []
    for future in as_completed(futures):  # in the order in which they end
        if future.state.is_completed():
            counts.append(future.result())
        else:
            print(f"left out: {future.state.message}")

    # A future may be handed to a task as it is: the task waits for it and gets its value.
    result = summary.submit(counts).result()
    print(result)
    return result


if __name__ == "__main__":
    search(sys.argv[1] if len(sys.argv) > 1 else r"\bdef\b", Path(sys.argv[2] if len(sys.argv) > 2 else "."))
