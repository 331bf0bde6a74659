"""The page on Python names everything that is public, with every argument."""

from __future__ import annotations

import ast
import importlib
import inspect
import re

import pytest

import headrace
from headrace.flows import Flow
from headrace.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from headrace.tasks import Task
from headrace.testing import headrace_test_harness

from .test_reference import REFERENCE, headings

PAGE = (REFERENCE / "python.md").read_text(encoding="utf-8")
DOORS = [
    "context", "deployments", "flow_runs", "flows", "futures", "input", "logging", "schedules", "states", "task_runners", "tasks", "testing", "testing.utilities",
    "utilities.annotations",
]  # fmt: skip


def public_names(module: str) -> list[str]:
    """Return what a door module offers: what it imports by its own name, and what it defines."""
    found = importlib.import_module(f"headrace.{module}")
    if hasattr(found, "_HOME"):  # a table of names that are found when they are asked for
        return sorted(found._HOME)
    tree = ast.parse(inspect.getsource(found))
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            # `A as A` hands a name on; in a module with code of its own an import is for that code
            names += [alias.name for alias in node.names if alias.asname == alias.name]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def sections() -> dict[str, str]:
    """Return ``{heading: text}`` of the page; a heading that names several things gives each its text."""
    parts = re.findall(r"^### ([^\n]*)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return {name.strip(): text for names, text in parts for name in names.split(",")}


def test_every_name_of_the_package_has_its_heading() -> None:
    for name in headrace.__all__:
        if name != "__version__":
            assert name in sections()


@pytest.mark.parametrize("module", DOORS)
def test_every_name_of_a_door_has_its_heading(module: str) -> None:
    names = public_names(module)

    assert names
    for name in names:
        assert name in sections(), f"headrace.{module}.{name}"


def test_every_error_of_the_door_is_on_the_page_of_errors() -> None:
    found = headings("errors.md")

    for name in public_names("exceptions"):
        assert name in found


@pytest.mark.parametrize("module", ["flow_run", "task_run", "deployment"])
def test_every_attribute_of_a_running_run_is_named(module: str) -> None:
    for name in importlib.import_module(f"headrace.runtime.{module}").__all__:
        assert f"`{name}`" in sections()[module]


@pytest.mark.parametrize(
    ("heading", "thing"),
    [
        ("flow", Flow.__init__),
        ("task", Task.__init__),
        ("ThreadPoolTaskRunner", ThreadPoolTaskRunner.__init__),
        ("ProcessPoolTaskRunner", ProcessPoolTaskRunner.__init__),
        ("headrace_test_harness", headrace_test_harness),
    ],
)
def test_every_argument_is_named(heading: str, thing: object) -> None:
    for name in inspect.signature(thing).parameters:  # type: ignore[arg-type]  # all are functions
        if name not in ("self", "fn"):
            assert re.search(rf"\b{name}\b", sections()[heading]), name


def test_nothing_is_named_that_is_not_there() -> None:
    offered = {name for module in DOORS for name in public_names(module)}
    offered |= {"runtime", "flow_run", "task_run", "deployment"}

    assert set(sections()) <= offered
