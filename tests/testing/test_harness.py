"""The harness: flows run in a test, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import flow, get_run_logger, task
from headrace.testing import headrace_test_harness


@task
def double(x: int) -> int:
    get_run_logger().info("doubling %s", x)
    return 2 * x


@flow
def numbers(n: int) -> list[int]:
    return double.map(list(range(n))).result()


@flow
def broken() -> None:
    raise ValueError("no")


def test_runs_and_logs_of_a_test_are_read_back() -> None:
    """What ran inside the harness is there as values: states, names and logs."""
    with headrace_test_harness() as harness:
        assert numbers(3) == [0, 2, 4]
        with pytest.raises(ValueError, match="no"):
            broken()

        assert [run.state.name for run in harness.flow_runs("numbers") if run.state] == ["Completed"]
        assert [run.state.name for run in harness.flow_runs("broken") if run.state] == ["Failed"]
        assert len(harness.task_runs("double")) == 3
        assert sorted(line for line in harness.logs() if "doubling" in line) == [
            "doubling 0",
            "doubling 1",
            "doubling 2",
        ]


def test_nothing_is_left_behind() -> None:
    """The private home is gone afterwards, and the recorder of before is back."""
    from headrace.engine import recorder

    before = recorder._current
    with headrace_test_harness() as harness:
        numbers(1)
        home = harness.home
        assert home.exists()

    assert not home.exists()
    assert recorder._current is before


def test_without_recording_nothing_is_written() -> None:
    """With recording off a flow is its function, and no file is made."""
    with headrace_test_harness(record=False) as harness:
        assert numbers(2) == [0, 2]
        assert harness.runs() == []
        assert list(harness.home.iterdir()) == []


def test_the_setting_starts_no_process_and_writes_nothing(tmp_path: Path) -> None:
    """HEADRACE_RECORD=false: a script's flow runs, and its home is never made."""
    home = tmp_path / "home"
    code = "from headrace import flow\n@flow\ndef f(): return 5\nprint(f())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HEADRACE_RECORD": "false", "HEADRACE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert done.stdout == "5\n"
    assert not home.exists()
