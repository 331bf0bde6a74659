"""A small disk that a test may fill, or the word that a full disk was not tested."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Put a disk of ``size`` (``"4m"``) at ``folder`` and take it away afterwards; the test is skipped where nobody may."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip(
            "NOT TESTED ON A FULL DISK: only root on Linux may mount the small disk that this test fills"
        )
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED ON A FULL DISK: it cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
