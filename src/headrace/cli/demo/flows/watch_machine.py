"""Log the machine's load again and again, for some seconds: a flow whose every line and task is counted afterwards.

python watch_machine.py [blocks] [readings in a block]
"""

from __future__ import annotations

import os
import sys
import time

from headrace import flow, get_run_logger, task


@task(task_run_name="block {block}")
def watch(block: int, readings: int, pause_seconds: float) -> float:
    """Log the load some times; return the highest."""
    logger = get_run_logger()
    highest = 0.0
    for number in range(block * readings, (block + 1) * readings):
        load = os.getloadavg()[0]
        highest = max(highest, load)
        logger.info("reading %d: load %.2f", number, load)
        time.sleep(pause_seconds)
    return highest


@flow
def watch_machine(blocks: int = 40, readings: int = 25, pause_seconds: float = 0.005) -> float:
    """Watch the load in blocks of readings; return the highest load."""
    return max(watch(block, readings, pause_seconds) for block in range(blocks))


if __name__ == "__main__":
    watch_machine(*map(int, sys.argv[1:]))
