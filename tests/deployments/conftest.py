"""A home with a work pool, and a server where a test needs one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.client.connection import Connection
from headrace.connect import connect
from headrace.server import process
from headrace.settings import Settings, load

ETL = '''
from headrace import flow


@flow
def etl(region: str, days: int = 7) -> None:
    """Load."""


@flow(name="the-report")
def report(day: str = "today") -> None:
    pass
'''


@pytest.fixture
def connection(home: Path) -> Iterator[Connection]:
    """A connection to the home folder's database, in which there is a work pool ``main``."""
    with connect(load()) as connection:
        connection.post("/work_pools/", {"name": "main", "type": "process"})
        yield connection


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two flows in ``etl.py``; it is the working folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "etl.py").write_text(ETL, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    return folder


@pytest.fixture
def server(home: Path) -> Iterator[Settings]:
    """The settings of a home with a server and a work pool ``main``; the server is stopped at the end."""
    settings = load({**os.environ, "HEADRACE_SERVER_PORT": "0"})
    process.start_in_background(settings)
    with connect(load()) as connection:
        connection.post("/work_pools/", {"name": "main", "type": "process"})
    yield load()
    process.stop(settings)


@pytest.fixture
def script(home: Path, tmp_path: Path) -> Callable[[str], str]:
    """Run Python code as a script of its own and return what it printed; it has to end well."""

    def run(code: str) -> str:
        path = tmp_path / "script.py"
        path.write_text(code, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(path)], capture_output=True, text=True, timeout=50, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
