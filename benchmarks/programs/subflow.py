"""Call a sync flow within a flow many times; print the seconds of one call, a line for each repetition."""

import importlib
import sys
import time

package = importlib.import_module(sys.argv[1])
CALLS, REPETITIONS = int(sys.argv[2]), int(sys.argv[3])


@package.flow
def inner(number):
    return number + 1


@package.flow
def measured():
    for repetition in range(REPETITIONS + 1):  # the first warms up
        begin = time.perf_counter()
        for number in range(CALLS):
            inner(number)
        seconds = (time.perf_counter() - begin) / CALLS
        if repetition:
            print(seconds)


measured()
