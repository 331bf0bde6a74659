"""Which folder is the code's: pull steps, path, working folder, or the run's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import LoadError
from headrace.model.orders import DeploymentCode, Job
from headrace.sources import fetch, load_flow

from .repositories import FLOWS, Origin

STEP = "prefect.deployments.steps.git_clone"


def test_the_code_of_a_repository_is_cloned_for_the_run_and_loads(tmp_path: Path, home: Path) -> None:
    """The copy that all runs share lies in the home folder."""
    origin = Origin(tmp_path / "jobs")
    origin.commit(etl__flows=FLOWS.format(text="from git"))
    deployment = DeploymentCode("i", "n", path="/nowhere", pull_steps=[{STEP: {"repository": origin.url}}])
    told: list[str] = []

    folder = fetch(deployment, Job(working_dir="/nowhere"), tmp_path / "run" / "code", say=told.append)

    assert folder == tmp_path / "run" / "code" / "jobs"
    assert load_flow("etl/flows.py:hello", folder).fn() == "from git"
    assert len(list((home / "sources").glob("*.git"))) == 1
    assert told[0].startswith(f"Cloned {origin.url} at commit ")


def test_without_steps_it_is_the_path_then_the_working_folder_then_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path begins in the job's folder, else where the process is."""
    for name in ("path", "work", "work/inner", "cwd", "cwd/here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    work, run = Job(working_dir=str(tmp_path / "work")), tmp_path / "run"

    assert fetch(DeploymentCode("i", "n", path=str(tmp_path / "path")), work, run) == tmp_path / "path"
    assert fetch(DeploymentCode("i", "n", path="inner"), work, run) == tmp_path / "work" / "inner"
    assert fetch(DeploymentCode("i", "n", path="here"), Job(), run) == tmp_path / "cwd" / "here"
    assert fetch(DeploymentCode("i", "n"), work, run) == tmp_path / "work"
    assert not run.exists()
    assert fetch(DeploymentCode("i", "n"), Job(), run) == run
    assert fetch(None, Job(), run) == run
    assert run.is_dir()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With whose it is: the worker may be on another machine."""
    (tmp_path / "file").touch()

    with pytest.raises(LoadError, match=r"/gone \(the deployment's path\), is not there\. Is the worker"):
        fetch(DeploymentCode("i", "n", path=str(tmp_path / "gone")), Job(), tmp_path)
    with pytest.raises(LoadError, match=r"/file \(the job's working_dir\), is a file\.") as raised:
        fetch(None, Job(working_dir=str(tmp_path / "file")), tmp_path)
    assert raised.value.tried == str(tmp_path / "file")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A full disk, a file where a folder should be: it is an error of loading too."""
    (tmp_path / "file").touch()
    deployment = DeploymentCode("i", "n", pull_steps=[{STEP: {"repository": "x"}}])

    with pytest.raises(LoadError, match=r"cannot be put into .*/file/code: .*Not a directory"):
        fetch(deployment, Job(), tmp_path / "file" / "code")
