"""The command line as people use it: a process, with a home folder of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headrace.cli.app import run

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
