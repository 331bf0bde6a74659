"""Test flows with pytest: call them as functions, and look at what ran when that is the question.

pytest testing_flows.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from first_flow import largest, largest_files
from subflows import BadDelivery, nightly_import

from headrace.testing import Harness, headrace_test_harness


@pytest.fixture(autouse=True)
def harness() -> Iterator[Harness]:
    """Record the runs of each test in a private home: no server, no process, and nothing to clean up."""
    with headrace_test_harness() as harness:
        yield harness


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three files."""
    for name, size in {"small": 10, "large": 3000, "middle": 200}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    return tmp_path


def test_a_tasks_function_alone() -> None:
    assert largest.fn({"a": 1, "b": 3, "c": 2}, count=2) == ["b", "c"]


def test_a_flow_returns_what_its_function_returns(folder: Path) -> None:
    assert [Path(path).name for path in largest_files(folder, count=2)] == ["large", "middle"]


def test_a_flow_that_fails() -> None:
    state = nightly_import({"south": "order,amount\n2001,twelve\n"}, return_state=True)
    assert state.is_failed()
    assert isinstance(state.result(raise_on_failure=False), BadDelivery)


def test_what_ran_and_what_was_logged(harness: Harness) -> None:
    totals = nightly_import({"north": "order,amount\n1,2.50\n", "south": "order,amount\n2,twelve\n"})
    assert totals == {"north": 2.5}
    imports = harness.flow_runs("import-region")
    assert [run.state.type for run in imports if run.state is not None] == ["COMPLETED", "FAILED"]
    assert any(line.startswith("south is left out") for line in harness.logs())
