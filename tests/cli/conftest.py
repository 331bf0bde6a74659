"""The command line as people use it: a process, with a home folder of its own."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headrace.cli.app import run
from headrace.client.connection import Connection
from headrace.server import process
from headrace.settings import load

from .worked import Worker

HEADRACE = Path(sys.executable).with_name("headrace")
"""The console script beside the interpreter that runs the tests."""


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output, decoded."""
        return json.loads(self.out)


Headrace = Callable[..., Done]


@pytest.fixture
def headrace(home: Path) -> Headrace:
    """Run ``headrace`` with arguments and return what it did; a traceback on its error output fails the test."""

    def call(*arguments: str, stdin: str = "", timeout: float = 30) -> Done:
        process = subprocess.run(
            [str(HEADRACE), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert "Traceback (most recent call last)" not in process.stderr, process.stderr
        return Done(process.returncode, process.stdout, process.stderr)

    return call


@pytest.fixture
def inside(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Headrace:
    """As ``headrace``, within the process of the test: a twentieth of the time, where a process adds nothing."""

    def call(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        assert "should not happen" not in err, err
        return Done(int(code), out, err)

    return call


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that tests share; each makes pools and flows with names of its own."""
    settings = load({"HEADRACE_HOME": str(tmp_path_factory.mktemp("served"))}).replace(server_port=0)
    address = process.start_in_background(settings)
    yield address["url"]
    process.stop(settings)


_numbers = itertools.count(1)


class Place:
    """A pool and a flow of one test's own on a server, and what the test puts there over HTTP."""

    def __init__(self, connection: Connection) -> None:
        number = next(_numbers)
        self.connection = connection
        self.pool = f"pool{number}"
        self.flow = f"etl{number}"

    def pool_of(self, **fields: Any) -> None:
        """Make the pool."""
        self.connection.post("/work_pools/", {"name": self.pool, "type": "process", **fields})

    def deploy(self, name: str = "nightly", **fields: Any) -> str:
        """Make the pool, if need be, and a deployment in it; return the deployment's ``FLOW/NAME``."""
        if not self.connection.post("/work_pools/filter", {"work_pools": {"name": {"any_": [self.pool]}}}):
            self.pool_of()
        flow_id = self.connection.post("/flows/", {"name": self.flow})["id"]
        body = {"name": name, "flow_id": flow_id, "work_pool_name": self.pool, **fields}
        self.connection.post("/deployments/", body)
        return f"{self.flow}/{name}"

    def worker(self) -> Worker:
        """Return a worker of the pool."""
        return Worker(self.connection, self.pool)


@pytest.fixture
def place(served: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place on the shared server, which the commands of the test speak to."""
    monkeypatch.setenv("HEADRACE_API_URL", served)
    with Connection(load(), served) as connection:
        yield Place(connection)
