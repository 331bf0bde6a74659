"""Work for some three seconds, half of it processor time, on record: ``steady.py PACKAGE FOLDER``.

Print the seconds that the flow took, and those of each of its pieces.
"""

import hashlib
import importlib
import itertools
import sys
import time
from pathlib import Path

package = importlib.import_module(sys.argv[1])
FOLDER = Path(sys.argv[2])
PIECES = 300
BLOCK = bytes(1 << 20)


@package.task
def piece(number):
    package.get_run_logger().info("piece %d", number)
    digest = b""
    for _ in range(6):
        digest = hashlib.sha1(BLOCK + digest).digest()
    (FOLDER / str(number % 10)).write_bytes(BLOCK[: 1 << 16] + digest)
    time.sleep(0.004)  # as for a disk or a service
    return digest


@package.flow
def steady():
    logger = package.get_run_logger()
    for number in range(PIECES):
        piece(number)
        logger.info("piece %d is done", number)
        logger.info("on to piece %d", number + 1)
        times.append(time.perf_counter())


times = [time.perf_counter()]
steady()
times.append(time.perf_counter())
print(times[-1] - times[0], *(after - before for before, after in itertools.pairwise(times)))
