"""Work without an end, on record: ``minutes.py PACKAGE FOLDER``; it stops when ``FOLDER/enough`` is there.

Print when each of its pieces was done (seconds since 1970), how many seconds it took, and how many of these were the
work inside its task: no orchestrator has a part in that, so it tells how fast the machine is meanwhile.
"""

import hashlib
import importlib
import sys
import time
from pathlib import Path

package = importlib.import_module(sys.argv[1])
FOLDER = Path(sys.argv[2])
BLOCK = bytes(1 << 20)
times, work = [], []


@package.task
def piece(number):
    package.get_run_logger().info("piece %d", number)
    began = time.perf_counter()
    digest = b""
    for _ in range(6):
        digest = hashlib.sha1(BLOCK + digest).digest()
    (FOLDER / str(number % 10)).write_bytes(BLOCK[: 1 << 16] + digest)
    time.sleep(0.004)  # as for a disk or a service
    work.append(time.perf_counter() - began)
    return digest


@package.flow
def minutes():
    logger = package.get_run_logger()
    number = 0
    while not (FOLDER / "enough").exists():
        began = time.perf_counter()
        piece(number)
        logger.info("piece %d is done", number)
        number += 1
        logger.info("on to piece %d", number)
        times.append((time.time(), time.perf_counter() - began))


minutes()
for (done, took), worked in zip(times, work, strict=True):
    print(done, took, worked)
