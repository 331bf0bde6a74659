"""``headrace deploy`` and ``headrace init``: from a file, from options, from answers at a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.exits import Code
from headrace.client.connection import Connection
from headrace.connect import connect
from headrace.settings import load

from .conftest import HEADRACE, Headrace

ETL = """
from headrace import flow

@flow
def etl(region: str, days: int = 7) -> None:
    '''Load.'''

@flow(name="the-report")
def report(day: str = "today") -> None:
    pass
"""

FILE = """
deployments:
  - name: nightly
    entrypoint: flows/etl.py:etl
    work_pool: {name: main, job_variables: {env: {A: "1"}}}
    parameters: {region: north, days: 2}
    schedules: [{cron: 0 6 * * *}]
  - name: hourly
    entrypoint: flows/etl.py:report
    work_pool: {name: main}
"""

_DEADLINE_S = 20.0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two flows; commands run in it."""
    folder = tmp_path / "project"
    (folder / "flows").mkdir(parents=True)
    (folder / "flows" / "etl.py").write_text(ETL, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    return folder


@pytest.fixture
def file(project: Path) -> Path:
    """Its ``headrace.yaml``, with two deployments."""
    path = project / "headrace.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


@pytest.fixture
def connection(home: Path) -> Iterator[Connection]:
    """A connection to the home folder's database, in which there is a work pool ``main``."""
    with connect(load()) as connection:
        connection.post("/work_pools/", {"name": "main", "type": "process"})
        yield connection


def deployed(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return the deployments that the server has, by name."""
    return {each["name"]: each for each in connection.post("/deployments/filter", {}, repeatable=True)}


def test_all_of_a_file(inside: Headrace, file: Path, connection: Connection) -> None:
    done = inside("deploy", "--all")
    found = deployed(connection)

    assert done.code == Code.OK, done.err
    assert "the-report/hourly" in done.out and "headrace worker start --pool main" in done.out
    assert set(found) == {"nightly", "hourly"}
    assert found["nightly"]["parameters"] == {"region": "north", "days": 2}
    assert found["nightly"]["job_variables"] == {"env": {"A": "1"}}
    assert found["nightly"]["path"] == str(file.parent)
    assert [each["schedule"]["cron"] for each in found["nightly"]["schedules"]] == ["0 6 * * *"]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("nightly",), {"nightly"}),
        (("*ly",), {"nightly", "hourly"}),
        (("the-report/*",), {"hourly"}),
        (("nightly", "hourly"), {"nightly", "hourly"}),
    ],
)
def test_some_of_a_file(
    inside: Headrace, file: Path, connection: Connection, names: tuple[str, ...], chosen: set[str]
) -> None:
    done = inside("deploy", *(word for name in names for word in ("--name", name)))

    assert done.code == Code.OK, done.err
    assert set(deployed(connection)) == chosen


def test_options_go_over_the_file(inside: Headrace, file: Path, connection: Connection) -> None:
    connection.post("/work_pools/", {"name": "other", "type": "process"})
    done = inside(
        "deploy", "-n", "nightly", "--pool", "other", "-q", "fast", "--param", "days=5", "--params", '{"region": "x"}',
        "--tag", "t", "--version", "8", "--description", "why", "-cl", "3", "--collision-strategy", "cancel_new",
        "--cron", "0 7 * * *", "--interval", "1h30m", "--rrule", "FREQ=DAILY", "--timezone", "Europe/Berlin",
        "-jv", "memory_limit=1GiB",
    )  # fmt: skip
    found = deployed(connection)["nightly"]

    assert done.code == Code.OK, done.err
    assert found["parameters"] == {"region": "x", "days": 5}
    assert (found["work_pool_name"], found["work_queue_name"]) == ("other", "fast")
    assert (found["tags"], found["version"], found["description"]) == (["t"], "8", "why")
    assert found["global_concurrency_limit"]["limit"] == 3
    assert found["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert found["job_variables"] == {"env": {"A": "1"}, "memory_limit": "1GiB"}
    rules = [each["schedule"] for each in found["schedules"]]
    assert {rule["timezone"] for rule in rules} == {"Europe/Berlin"}
    assert sorted(str(rule.get("interval")) for rule in rules) == ["5400.0", "None", "None"]


def test_one_without_a_file(inside: Headrace, project: Path, connection: Connection) -> None:
    done = inside("deploy", "flows/etl.py:etl", "-n", "mine", "-p", "main", "--param", "region=north")
    found = deployed(connection)["mine"]

    assert done.code == Code.OK, done.err
    assert (found["entrypoint"], found["path"]) == ("flows/etl.py:etl", str(project))


def test_a_file_may_be_elsewhere_and_be_called_as_before(
    inside: Headrace, file: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moved = file.rename(file.with_name("prefect.yaml"))
    assert inside("deploy", "-n", "hourly").code == Code.OK
    monkeypatch.chdir(tmp_path)
    done = inside("deploy", "--prefect-file", str(moved), "-n", "nightly")

    assert done.code == Code.OK, done.err
    assert {each["path"] for each in deployed(connection).values()} == {str(moved.parent)}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("deploy",), Code.USAGE, "--all.*nightly, hourly"),
        (("deploy", "-n", "nightl"), Code.FAILED, "Did you mean nightly"),
        (("deploy", "--all", "--version", "3"), Code.USAGE, "2 deployments are chosen"),
        (("deploy", "flows/etl.py:etl", "-p", "main"), Code.USAGE, "-n NAME"),
        (("deploy", "flows/etl.py:etl", "-n", "x"), Code.USAGE, "-p POOL. There are: main"),
        (
            ("deploy", "flows/etl.py:etl", "-n", "x", "-p", "mian"),
            Code.FAILED,
            "no work pool 'mian'. There are: main",
        ),
        (("deploy", "flows/etl.py:elt", "-n", "x", "-p", "main"), Code.FAILED, "Did you mean etl"),
        (("deploy", "flows/elt.py:etl", "-n", "x", "-p", "main"), Code.FAILED, "etl.py"),
        (("deploy", "flows/etl.py:etl", "--all"), Code.USAGE, "one deployment"),
        (("deploy", "-n", "nightly", "--param", "days=many"), Code.FAILED, "days"),
        (("deploy", "-n", "nightly", "--param", "dayz=1"), Code.FAILED, "'dayz'"),
        (("deploy", "-n", "nightly", "--params", "[1]"), Code.USAGE, "object"),
        (("deploy", "-n", "nightly", "--cron", "x"), Code.FAILED, "not a cron expression"),
        (("deploy", "-n", "nightly", "--interval", "soon"), Code.FAILED, "interval"),
        (("deploy", "-n", "nightly", "--timezone", "UTC"), Code.USAGE, "--cron"),
        (("deploy", "-n", "nightly", "--collision-strategy", "ENQUEUE"), Code.USAGE, "--concurrency-limit"),
        (("deploy", "-n", "nightly", "-jv", "memory_limit=lots"), Code.FAILED, "memory_limit"),
        (("deploy", "--file", "missing.yaml"), Code.USAGE, "missing.yaml"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_made(
    inside: Headrace, file: Path, connection: Connection, arguments: tuple[str, ...], code: Code, told: str
) -> None:
    import re

    done = inside(*arguments)

    assert (done.code, done.out) == (code, "")
    assert re.search(told, done.err), done.err
    assert deployed(connection) == {}


def test_one_that_cannot_be_loaded_stops_all(inside: Headrace, file: Path, connection: Connection) -> None:
    """Before the first is changed."""
    file.write_text(FILE.replace("flows/etl.py:report", "flows/etl.py:gone"), encoding="utf-8")
    done = inside("deploy", "--all")

    assert done.code == Code.FAILED and "gone" in done.err
    assert deployed(connection) == {}


def test_without_a_file_the_flows_here_are_named(inside: Headrace, project: Path) -> None:
    done = inside("deploy")

    assert done.code == Code.USAGE
    assert "flows/etl.py:etl, flows/etl.py:report" in done.err


def test_code_that_prints_or_fails_while_it_is_loaded(
    inside: Headrace, project: Path, connection: Connection
) -> None:
    """Its own words are told, without our frames."""
    (project / "bad.py").write_text("import not_there_at_all\n", encoding="utf-8")
    done = inside("deploy", "bad.py:f", "-n", "x", "-p", "main")

    assert done.code == Code.FAILED
    assert "not_there_at_all" in done.err and "line 1" in done.err


def test_the_file_that_init_writes_can_be_deployed(
    inside: Headrace, project: Path, connection: Connection
) -> None:
    done = inside("init")
    assert done.code == Code.OK and "2 flows" in done.out
    text = (project / "headrace.yaml").read_text(encoding="utf-8")
    text = text.replace("# parameters: {region: north}", "parameters: {region: north}")
    (project / "headrace.yaml").write_text(text, encoding="utf-8")
    all_of_it = inside("deploy", "--all")

    assert all_of_it.code == Code.OK, all_of_it.err
    assert set(deployed(connection)) == {"etl", "report"}


def test_init_does_not_write_over_a_file(inside: Headrace, file: Path) -> None:
    done = inside("init")

    assert done.code == Code.USAGE and "--force" in done.err
    assert file.read_text(encoding="utf-8") == FILE
    assert inside("init", "--force").code == Code.OK
    assert "flows/etl.py:report" in file.read_text(encoding="utf-8")


def test_init_names_the_repository_without_its_password(inside: Headrace, project: Path) -> None:
    for words in (["init", "-q"], ["remote", "add", "origin", "https://me:hunter2@example.com/flows.git"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    (project / "flows" / "etl.py").unlink()
    done = inside("init")
    text = (project / "headrace.yaml").read_text(encoding="utf-8")

    assert done.code == Code.OK and "no flow was found" in done.out
    assert "repository: https://example.com/flows.git" in text and "hunter2" not in text


class Terminal:
    """``headrace`` at a terminal, with somebody who reads its questions and answers them."""

    def __init__(self, *arguments: str, folder: Path) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [str(HEADRACE), *arguments], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder,
            env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"},
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""
        self._read_to = 0

    def answer(self, question: str, text: str) -> None:
        """Wait for a question, and type a line."""
        deadline = time.monotonic() + _DEADLINE_S
        while question not in self.shown[self._read_to :]:
            assert time.monotonic() < deadline, f"no question {question!r} in {self.shown}"
            self._read(deadline)
        self._read_to = len(self.shown)
        os.write(self._ours, text.encode() + b"\n")

    def end(self) -> int:
        """Read to the end; return the exit code."""
        deadline = time.monotonic() + _DEADLINE_S
        while self._read(deadline):
            pass
        os.close(self._ours)
        return self._process.wait(_DEADLINE_S)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(deadline - time.monotonic(), 0))
        try:
            part = os.read(self._ours, 65536) if ready else b""
        except OSError:  # Linux tells the end of a terminal so
            part = b""
        self.shown += part.decode()
        return bool(part)


def test_a_terminal_is_asked_for_all_that_is_missing(project: Path, home: Path) -> None:
    """Which flow, which name, a pool where there is none; and a file for the next time."""
    terminal = Terminal("deploy", "--param", "region=north", folder=project)
    terminal.answer("Which one?", "1")
    terminal.answer("Name of the deployment", "mine")
    terminal.answer("no work pool yet", "fresh")
    terminal.answer("headrace.yaml", "y")

    assert terminal.end() == 0, terminal.shown
    with connect(load()) as connection:
        found = deployed(connection)["mine"]
        pool = connection.get("/work_pools/fresh")
    assert (found["work_pool_name"], found["entrypoint"]) == ("fresh", "flows/etl.py:etl")
    assert "memory_limit" in json.dumps(pool["base_job_template"])
    again = Terminal("deploy", folder=project)
    assert again.end() == 0, again.shown
    assert "etl/mine" in again.shown


def test_a_terminal_is_asked_which_of_a_file(file: Path, connection: Connection) -> None:
    terminal = Terminal("deploy", folder=file.parent)
    terminal.answer("Which one?", "2")

    assert terminal.end() == 0, terminal.shown
    assert set(deployed(connection)) == {"hourly"}


def test_a_terminal_is_asked_for_a_pool(project: Path, connection: Connection) -> None:
    connection.post("/work_pools/", {"name": "zeta", "type": "process"})
    terminal = Terminal("deploy", "flows/etl.py:report", "-n", "x", folder=project)
    terminal.answer("Which one?", "2")
    terminal.answer("headrace.yaml", "n")

    assert terminal.end() == 0, terminal.shown
    assert deployed(connection)["x"]["work_pool_name"] == "zeta"
    assert not (project / "headrace.yaml").exists()
