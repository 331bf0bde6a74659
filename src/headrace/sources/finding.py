"""Finds flows in Python files by reading them, so that nothing is executed."""

from __future__ import annotations

import ast
import os
from pathlib import Path

_NOT_CODE = {"__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist"}

_PACKAGES = ("headrace", "prefect")

_LARGEST_BYTES = 2_000_000
"""Larger Python files are data in disguise; parsing one takes seconds and a gigabyte."""


def find_flows(folder: Path) -> list[tuple[Path, str]]:
    """Return ``[(path relative to folder, function), ...]`` of every flow below a folder, in order of path and line.

    A flow is a function at the top of a file with a decorator that is ``flow`` of Headrace (or of Prefect, since a
    file may be on its way over). Hidden folders, environments and files that are not valid Python are passed over.
    """
    found: list[tuple[Path, str]] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if _may_hold_code(Path(parent, name)))
        for name in sorted(files):
            if name.endswith(".py"):
                path = Path(parent, name)
                found.extend((path.relative_to(folder), flow) for flow in flows_of(path))
    return sorted(found, key=lambda item: item[0])  # a stable sort: lines stay in order


def flows_of(path: Path) -> list[str]:
    """Return the names of the functions that are flows in one file; none if it cannot be read as Python."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return []
        source = path.read_bytes()
        if b"flow" not in source:
            return []
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    decorators, modules = _names(tree)
    functions = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [
        function.name
        for function in functions
        if any(_is_flow(item, decorators, modules) for item in function.decorator_list)
    ]


def _may_hold_code(folder: Path) -> bool:
    name = folder.name
    return name not in _NOT_CODE and not name.startswith(".") and not (folder / "pyvenv.cfg").exists()


def _names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Return the names under which a file has the decorator, and those of the modules that have it."""
    decorators, modules = set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in _PACKAGES:
            decorators |= {item.asname or item.name for item in node.names if item.name == "flow"}
            modules |= {item.asname or item.name for item in node.names if item.name == "flows"}
        elif isinstance(node, ast.Import):
            ours = [item for item in node.names if item.name.partition(".")[0] in _PACKAGES]
            modules |= {item.asname or item.name.partition(".")[0] for item in ours}
    return decorators, modules


def _is_flow(decorator: ast.expr, decorators: set[str], modules: set[str]) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(target, ast.Name):
        return target.id in decorators
    if isinstance(target, ast.Attribute) and target.attr == "flow":
        while isinstance(target, ast.Attribute):
            target = target.value
        return isinstance(target, ast.Name) and target.id in modules
    return False
