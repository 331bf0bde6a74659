"""Run many tasks in one flow, called or mapped; print by how many bytes the process grew at its largest."""

import importlib
import resource
import sys

package = importlib.import_module(sys.argv[1])
TASKS, WAY = int(sys.argv[2]), sys.argv[3]


@package.task
def add(a, b=1):
    return a + b


def peak():
    """Return the largest size so far. On Linux, getrusage would tell that of the process which started this one."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def called(numbers):
    return sum(add(number) for number in numbers)


def mapped(numbers):
    futures = add.map(numbers)  # held to the end, as flows do that look at their states
    return sum(future.result() for future in futures)


@package.flow
def measured():
    way = {"called": called, "mapped": mapped}[WAY]
    assert way(range(100)) == 5050  # all that is loaded once is loaded now
    before = peak()
    assert way(range(TASKS)) == TASKS * (TASKS + 1) // 2
    print(peak() - before)


measured()
