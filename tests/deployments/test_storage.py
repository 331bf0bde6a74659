"""Sources of code: what a path or an address means, and that no secret is kept in clear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.deployments import GitRepository, LocalStorage
from headrace.deployments.storage import is_git_address, refuse_secrets, storage_of
from headrace.errors import DeploymentError

URL = "https://example.com/team/flows.git"


@pytest.mark.parametrize(
    ("text", "is_git"),
    [
        (URL, True),
        ("https://example.com/team/flows", True),
        ("git@example.com:team/flows.git", True),
        ("deploy@host:flows", True),
        ("ssh://git@example.com/flows", True),
        ("file:///srv/flows", True),
        ("../flows.git", True),
        (".", False),
        ("flows", False),
        ("/srv/team@home/flows", False),
        ("~/flows", False),
    ],
)
def test_a_text_is_an_address_or_a_path(text: str, is_git: bool) -> None:
    assert is_git_address(text) is is_git
    assert isinstance(storage_of(text), GitRepository if is_git else LocalStorage)


def test_a_folder_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert storage_of("flows").code() == (str(tmp_path / "flows"), None)
    assert storage_of(tmp_path).code() == (str(tmp_path), None)


def test_a_repository_is_one_pull_step() -> None:
    token = {"access_token": {"$env": "GIT_TOKEN"}}
    path, steps = GitRepository(URL, branch="main", credentials=token, directories=["a"]).code()

    assert path is None
    assert steps == [
        {
            "prefect.deployments.steps.git_clone": {
                "repository": URL,
                "branch": "main",
                "directories": ["a"],
                "credentials": token,
            }
        }
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"url": "https://me:hunter2@example.com/x.git"},
        {"url": "https://ghp_hunter2@example.com/x.git"},
        {"url": URL, "credentials": {"access_token": "hunter2"}},
        {"url": URL, "credentials": {"username": "me", "password": "hunter2"}},
    ],
)
def test_a_secret_in_clear_is_refused_and_not_repeated(given: dict[str, Any]) -> None:
    with pytest.raises(DeploymentError, match="in clear") as caught:
        GitRepository(**given)

    assert "hunter2" not in str(caught.value)
    assert "$env" in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"url": "https://{{ $GIT_TOKEN }}@example.com/x.git"},
        {"url": "https://team@dev.example.com/x"},
        {"url": "ssh://git@example.com/x.git"},
        {"url": URL, "credentials": {"username": "me", "password": "{{ $GIT_PASSWORD }}"}},
    ],
)
def test_the_name_of_a_secret_is_taken(given: dict[str, Any]) -> None:
    assert GitRepository(**given).code()[1]


@given(
    st.from_regex(r"[A-Za-z0-9_.~-]{1,20}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_.~-]{8,40}", fullmatch=True),
)
def test_no_password_in_an_address_passes(user: str, password: str) -> None:
    with pytest.raises(DeploymentError) as caught:
        refuse_secrets({"repository": f"https://{user}:{password}@example.com/x.git"}, "It")

    assert password not in str(caught.value).replace("example.com", "")


def test_one_of_branch_and_commit_is_enough() -> None:
    with pytest.raises(DeploymentError, match="branch and commit_sha"):
        GitRepository(URL, branch="main", commit_sha="abc")


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(DeploymentError, match="int is no source"):
        storage_of(3)  # type: ignore[arg-type]  # what a caller without types may give
