"""Peak memory is this process's own."""

from __future__ import annotations

import subprocess
import sys

from headrace.engine.memory import peak_memory_bytes


def test_a_small_process_started_by_a_large_one_tells_its_own_peak() -> None:
    """What the parent had resident before exec is not counted."""
    ballast = bytearray(b"x" * 150_000_000)
    code = "from headrace.engine.memory import peak_memory_bytes; print(peak_memory_bytes())"
    child = int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60).stdout
    )

    assert peak_memory_bytes() > len(ballast)
    assert child < 100_000_000
