"""Rows 16 and 17 under a worker: code that cannot be loaded, and parameters that do not fit."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sources.repositories import Origin

from .crew import POOL, Crew, Run
from .house import HEADRACE, Json, evidence_of, history_of, state_of
from .test_worker_rows_endings import assert_fact, assert_nothing_left

FINE = """
    from headrace import flow

    @flow
    def main():
        pass
"""


def end_of_unloadable(crew: Crew, given: Run) -> tuple[Json, Json]:
    """Wait for a run's end as LoadError; return it, and its exception."""
    run = given.end(within=2.0)

    assert state_of(run) == ("FAILED", "LoadError")
    assert "Running" not in history_of(run), "no user code of the flow has begun"
    assert_fact(crew, run)
    assert_nothing_left(given)
    exception = evidence_of(run)["exception"]
    assert "headrace/sources/" not in exception["traceback"]
    assert "flow_process.py" not in exception["traceback"]
    assert run["state"]["message"] in crew.logs(run["id"])[-1]
    return run, exception


@pytest.mark.parametrize("start", ["warm", "fresh"])
def test_row_16_missing_file(crew: Crew, start: str) -> None:
    """A file that is not there: the path tried, and what there is instead."""
    deployment = crew.deploy(FINE, start=start, fields={"entrypoint": "flow.py:main"})
    run, exception = end_of_unloadable(crew, crew.run(deployment))

    path = str(deployment.folder / "flow.py")
    assert evidence_of(run)["tried"] == path
    assert f"There is no file {path}" in run["state"]["message"]
    assert "flows.py" in run["state"]["message"], "what it may have meant"
    assert exception["type"].endswith("LoadError")


def test_row_16_missing_folder(crew: Crew) -> None:
    """A folder of code that is not there, as when a deployment is carried out on another machine."""
    deployment = crew.deploy(FINE)
    (deployment.folder / "flows.py").unlink()
    deployment.folder.rmdir()
    run, _ = end_of_unloadable(crew, crew.run(deployment))

    assert str(deployment.folder) in evidence_of(run)["tried"]
    assert str(deployment.folder) in run["state"]["message"]


def test_row_16_missing_flow(crew: Crew) -> None:
    """A flow that is not in the file: the file tried, and which flows there are."""
    deployment = crew.deploy(FINE, fields={"entrypoint": "flows.py:mian"})
    run, _ = end_of_unloadable(crew, crew.run(deployment))

    assert evidence_of(run)["tried"] == f"{deployment.folder / 'flows.py'}:mian"
    assert "Did you mean main?" in run["state"]["message"]


@pytest.mark.parametrize("start", ["warm", "fresh"])
def test_row_16_module_raises_when_imported(crew: Crew, start: str) -> None:
    """A module that raises: its error with the user's frames, the last of them where it was raised."""
    deployment = crew.deploy(
        """
        from headrace import flow

        def connect():
            raise ConnectionError("no route to the bank")

        BANK = connect()

        @flow
        def main():
            pass
        """,
        start=start,
    )
    run, exception = end_of_unloadable(crew, crew.run(deployment))

    path = str(deployment.folder / "flows.py")
    assert evidence_of(run)["tried"] == path
    assert "ConnectionError" in run["state"]["message"]
    assert "no route to the bank" in run["state"]["message"]
    assert exception["root_cause"]["type"] == "ConnectionError"
    assert f'File "{path}", line 7' in exception["traceback"]
    assert "in connect" in exception["traceback"]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("import no_such_library\n", "No module named 'no_such_library'"),
        ("def main(:\n    pass\n", "is not valid Python"),
        ("import sys\nsys.exit('not today')\n", "not today"),
    ],
    ids=["missing import", "syntax error", "sys.exit"],
)
def test_row_16_module_does_not_import(crew: Crew, source: str, shown: str) -> None:
    """A module that imports what is not installed, is no Python, or exits."""
    deployment = crew.deploy(source)
    run, exception = end_of_unloadable(crew, crew.run(deployment))

    path = str(deployment.folder / "flows.py")
    assert evidence_of(run)["tried"] == path
    assert path in run["state"]["message"]
    assert shown in run["state"]["message"]
    assert exception["root_cause"]["type"] in ("ModuleNotFoundError", "SyntaxError", "SystemExit")


def test_row_16_missing_module(crew: Crew) -> None:
    """A module that an entrypoint names and that is nowhere: its name, and where it was looked for."""
    deployment = crew.deploy(FINE, fields={"entrypoint": "no_such_module.flows:main"})
    run, _ = end_of_unloadable(crew, crew.run(deployment))

    assert evidence_of(run)["tried"] == "no_such_module.flows"
    assert "There is no module no_such_module" in run["state"]["message"]
    assert str(deployment.folder) in run["state"]["message"]


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ({"commit_sha": "deadbeef" * 5}, "deadbeefdeadbeef"),
        ({"branch": "no-such-branch"}, "no-such-branch"),
    ],
    ids=["commit", "branch"],
)
def test_row_16_missing_commit(crew: Crew, tmp_path: Path, wanted: Json, shown: str) -> None:
    """A commit or branch that the repository has not: the repository tried."""
    origin = Origin(tmp_path / "origin")
    origin.commit(flows="from headrace import flow\n\n\n@flow\ndef main():\n    pass\n")
    clone = {"headrace.deployments.steps.git_clone": {"repository": origin.url, **wanted}}
    given = crew.run(crew.deploy(FINE, fields={"path": None, "pull_steps": [clone]}))
    run, _ = end_of_unloadable(crew, given)

    assert evidence_of(run)["tried"].startswith(origin.url)
    assert origin.url in run["state"]["message"]
    assert shown in run["state"]["message"]


def test_row_16_missing_repository(crew: Crew, tmp_path: Path) -> None:
    """A repository that is not there."""
    url = (tmp_path / "gone").as_uri()
    clone = {"headrace.deployments.steps.git_clone": {"repository": url}}
    given = crew.run(crew.deploy(FINE, fields={"path": None, "pull_steps": [clone]}))
    run, _ = end_of_unloadable(crew, given)

    assert evidence_of(run)["tried"] == url
    assert url in run["state"]["message"]


@pytest.mark.parametrize(
    ("job", "shown"),
    [
        ({"python": "/no/such/python"}, "/no/such/python"),
        ({"command": "no-such-command --now"}, "no-such-command"),
        ({"working_dir": "/no/such/folder", "start": "fresh"}, "/no/such/folder"),
    ],
    ids=["python", "command", "working_dir"],
)
def test_row_16_process_cannot_be_started(crew: Crew, job: Json, shown: str) -> None:
    """An interpreter, a command or a folder of the job that is not there ends the run with its name."""
    given = crew.carry_out(FINE, **job)
    run = given.end(within=2.0)

    assert state_of(run) == ("FAILED", "LoadError")
    assert shown in run["state"]["message"]
    assert run["state_history"][-1]["rank"] == "fact"
    assert_nothing_left(given)


def test_row_16_interrupted_while_the_code_is_loaded(crew: Crew) -> None:
    """A SIGINT is not the code's fault: the run is Cancelled, name Interrupted, as when it comes later."""
    given = crew.carry_out("""
        import time

        print("importing")
        time.sleep(600)
    """)
    given.until_said("importing")
    given.kill(signal.SIGINT)
    run = given.end(within=1.0)

    assert state_of(run) == ("CANCELLED", "Interrupted")
    assert_fact(crew, run)
    assert_nothing_left(given)


TYPED = """
    from headrace import flow

    @flow
    def typed(count: int, name: str = "n"):
        print("user code ran")
"""


@pytest.fixture
def typed(crew: Crew, tmp_path: Path) -> str:
    """The name of a deployment, made by the command line, of a flow with a parameter `count: int`."""
    (tmp_path / "typed.py").write_text(
        "from headrace import flow\n\n\n@flow\ndef typed(count: int, name: str = 'n') -> None:\n    print(count)\n"
    )
    done = subprocess.run(
        [str(HEADRACE), "deploy", "typed.py:typed", "-n", tmp_path.name, "-p", POOL],
        cwd=tmp_path,
        env=crew.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return f"typed/{tmp_path.name}"


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"count": "many"}, "count"), ({}, "count")],
    ids=["wrong type", "missing"],
)
def test_row_17_parameter_refused_over_rest(crew: Crew, typed: str, parameters: Json, field: str) -> None:
    """A parameter that does not fit is refused with 409, naming the field; no run comes into being."""
    deployment = crew.get(f"/deployments/name/{typed}") or {}
    answer = crew.client.post(
        f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": parameters}
    )

    assert answer.status_code == 409
    assert "Validation failed for parameters" in answer.json()["detail"]
    assert field in answer.json()["detail"]
    assert runs_of(crew, deployment) == []


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        (["count=many"], "count", "integer"),
        (["name=x"], "count", "required"),
        (["count=1", "nmae=x"], "nmae", "Did you mean"),
    ],
    ids=["wrong type", "missing", "unknown"],
)
def test_row_17_parameter_refused_by_the_command_line(
    crew: Crew, typed: str, given: list[str], field: str, reason: str
) -> None:
    """The command line says which parameter does not fit and how; no run comes into being."""
    deployment = crew.get(f"/deployments/name/{typed}") or {}
    done = subprocess.run(
        [str(HEADRACE), "deployment", "run", typed, *(word for pair in given for word in ("--param", pair))],
        env=crew.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    assert field in done.stderr
    assert reason in done.stderr
    assert "no run" in done.stderr.lower()
    assert runs_of(crew, deployment) == []


def test_row_17_parameter_that_fits_is_carried_out(crew: Crew, typed: str) -> None:
    """The same deployment runs with a parameter that fits, given as text by the command line."""
    made = crew.headrace_json("deployment", "run", typed, "--param", "count=3")
    run = crew.found(made["id"]).end(within=1.0)

    assert state_of(run) == ("COMPLETED", "Completed")
    assert run["parameters"] == {"count": 3}


def test_row_17_parameter_that_the_code_no_longer_takes(crew: Crew) -> None:
    """Where nothing could check it before, a parameter that does not fit fails the run before any user code."""
    given = crew.run(crew.deploy(TYPED, "typed"), count="many")
    run = given.end(within=1.0)

    assert state_of(run) == ("FAILED", "Failed")
    assert "Running" not in history_of(run)
    exception = evidence_of(run)["exception"]
    assert exception["type"].endswith("ParameterTypeError")
    assert "count" in exception["message"]
    assert "integer" in exception["message"]
    assert "user code ran" not in "".join(crew.logs(run["id"]))
    assert_fact(crew, run)
    assert_nothing_left(given)


def runs_of(crew: Crew, deployment: Json) -> list[Any]:
    """Return the runs of a deployment on record."""
    return crew.find("flow_runs", {"deployments": {"id": {"any_": [deployment["id"]]}}})
