"""Every example runs as a process, and each of its runs ends in the state that its text promises."""

from __future__ import annotations

import sys
from collections import Counter
from typing import NamedTuple

import pytest

from .conftest import REPOSITORY, Reader, on_record

EXAMPLES = REPOSITORY / "examples"


class Expected(NamedTuple):
    """What an example does."""

    arguments: tuple[str, ...]
    says: tuple[str, ...]
    """Parts of its output."""
    flows: dict[str, list[str]]
    """The states of its flow runs, by flow."""
    tasks: dict[str, str]
    """The state of each of its task runs, by name."""


EXPECTED = {
    "first_flow.py": Expected(
        (str(EXAMPLES), "3"),
        ("bytes", str(EXAMPLES)),
        {"largest-files": ["Completed"]},
        {"sizes_below-0": "Completed", "largest-0": "Completed"},
    ),
    "map_and_futures.py": Expected(
        (r"\bflow\b", "."),
        ("4 matches in 2 of 3 files", "left out: UnicodeDecodeError"),
        {"search": ["Completed"]},
        {
            "search a.py": "Completed",
            "search b.py": "Completed",
            "search c.py": "Completed",
            "search not_text.py": "Failed",
            "summary-0": "Completed",
        },
    ),
    "retries_and_hooks.py": Expected(
        (),
        ("Attempt 1 of 5 failed: HTTPError: HTTP Error 503", "fetch-1 gave up at try 1", "'USD': 1.08"),
        {"exchange-rates": ["Completed"]},
        {"fetch-0": "Completed", "fetch-1": "Failed"},
    ),
    "async_flow.py": Expected(
        (),
        ("is there", "127.0.0.1:1 is away"),
        {"reachability": ["Completed"]},
        {"reach 127.0.0.1:1": "Failed"},
    ),
    "timeouts.py": Expected(
        (),
        ("the last known forecast stands", "Tomorrow: as yesterday"),
        {"forecast": ["Completed"]},
        {"slow_model-0": "TimedOut", "publish-0": "Completed"},
    ),
    "subflows.py": Expected(
        (),
        ("south is left out", "{'north': 27.15, 'west': 120.0}"),
        {"nightly-import": ["Completed"], "import-region": ["Completed", "Completed", "Failed"]},
        {"total_of-0": "Completed"},
    ),
    "process_pool.py": Expected(
        (),
        ("17,984 primes below 200,000",),
        {"primes-below": ["Completed"]},
        {f"count_primes-{number}": "Completed" for number in range(8)},
    ),
}


def test_every_example_is_run() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert scripts == {*EXPECTED, "testing_flows.py", "free_space.py"}


@pytest.fixture
def files_to_search(reader: Reader) -> None:
    for name, text in {"a": "flow flow", "b": "flow, workflow, flow", "c": "nothing"}.items():
        (reader.folder / f"{name}.py").write_text(text, encoding="utf-8")
    (reader.folder / "not_text.py").write_bytes(b"\xff\xfe\xfd")


@pytest.mark.usefixtures("files_to_search")
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_example(reader: Reader, name: str) -> None:
    expected = EXPECTED[name]
    done = reader.types(sys.executable, str(EXAMPLES / name), *expected.arguments)
    assert done.returncode == 0, done.stdout
    for text in expected.says:
        assert text in done.stdout

    states: dict[str, list[str]] = {}
    for run in on_record("flow-run"):
        states.setdefault(run["flow_name"], []).append(run["state_name"])
    assert {flow: sorted(found) for flow, found in states.items()} == expected.flows

    tasks = Counter((run["name"], run["state_name"]) for run in on_record("task-run"))
    for task, state in expected.tasks.items():
        assert tasks[task, state], f"{task} is not {state} in {tasks}"


def test_the_example_about_tests_passes(reader: Reader) -> None:
    done = reader.types(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "testing_flows.py")
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
