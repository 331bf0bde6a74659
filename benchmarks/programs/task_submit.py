"""Submit a task and wait for its result, many times; print the seconds of one, a line for each repetition."""

import importlib
import sys
import time

package = importlib.import_module(sys.argv[1])
CALLS, REPETITIONS = int(sys.argv[2]), int(sys.argv[3])


@package.task
def add(a, b):
    return a + b


@package.flow
def measured():
    for repetition in range(REPETITIONS + 1):  # the first warms up
        begin = time.perf_counter()
        for number in range(CALLS):
            add.submit(number, 1).result()
        seconds = (time.perf_counter() - begin) / CALLS
        if repetition:
            print(seconds)


measured()
