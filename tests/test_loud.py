"""A test that cannot be carried out is counted at the end of the run, and fails it where everything is required."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .loud import REQUIRED

ROOT = Path(__file__).parents[1]

TESTS = """
import pytest

@pytest.fixture
def nginx():
    pytest.skip("NOT TESTED WITH NGINX: it is not here")

def test_one(nginx): pass
def test_two(nginx): pass
def test_three(): pytest.skip("macOS has none")
def test_four(): pass
"""

IN_PROCESSES = pytest.param(
    ["-n", "2"],
    marks=pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not here"),
)


def carried_out(
    tests: str, folder: Path, options: list[str], required: str
) -> subprocess.CompletedProcess[str]:
    """Carry tests out in a run of their own."""
    (folder / "test_some.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.loud", *options, str(folder)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), REQUIRED: required}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [[], IN_PROCESSES], ids=["in one process", "in several"])
def test_what_is_left_out_fails_a_run_that_requires_all(tmp_path: Path, options: list[str]) -> None:
    """With the reasons and how many tests each has cost; a skip of another kind is none of its business."""
    free = carried_out(TESTS, tmp_path, options, "")
    bound = carried_out(TESTS, tmp_path, options, "1")

    assert (free.returncode, bound.returncode) == (0, 1), bound.stdout
    for done in (free, bound):
        assert "2 tests could not be carried out here" in done.stdout
        assert "2 x NOT TESTED WITH NGINX: it is not here" in done.stdout
        assert "x macOS" not in done.stdout
    assert ["has failed by it" in done.stdout for done in (free, bound)] == [False, True]


def test_a_run_that_leaves_nothing_out_passes(tmp_path: Path) -> None:
    """Though all is required."""
    done = carried_out("def test_one(): pass\n", tmp_path, [], "1")

    assert done.returncode == 0, done.stdout
    assert "could not be carried out" not in done.stdout
