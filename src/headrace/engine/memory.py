"""How much memory this process has taken: evidence for a run that ran out of it."""

from __future__ import annotations

import resource
import sys


def peak_memory_bytes() -> int:
    """Return the greatest memory that this process has had resident, in bytes."""
    try:
        with open("/proc/self/status", "rb") as file:  # noqa: PTH123  # out of memory is no time to import pathlib
            for line in file:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # not Linux, or no more descriptors
        pass
    # On Linux this outlives exec: a script that a large process started would report that one's peak.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
