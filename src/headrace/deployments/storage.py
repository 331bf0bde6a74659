"""Where a deployment's code is: a folder, or a git repository from which each run fetches it fresh."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from ..errors import DeploymentError
from ..sources.templates import is_reference

Json = dict[str, Any]

GIT_CLONE = "prefect.deployments.steps.git_clone"
"""The contract's name of the step; Headrace carries it out itself."""

_TOKEN = re.compile(r"(gh[a-z]_|github_pat_|glpat-)|[\w-]{30,}$")


class Storage(Protocol):
    """What :meth:`Flow.from_source` takes."""

    def code(self) -> tuple[str | None, list[Json] | None]:
        """Return the folder that holds the code, or the steps that fetch it."""


@dataclass(frozen=True)
class LocalStorage:
    """A folder, which every worker that carries out the deployment sees under the same path."""

    path: str | os.PathLike[str]

    @property
    def folder(self) -> Path:
        """The folder, absolute."""
        return Path(self.path).expanduser().absolute()

    def code(self) -> tuple[str | None, list[Json] | None]:
        """Return the folder."""
        return str(self.folder), None


@dataclass(frozen=True)
class GitRepository:
    """A git repository, of which each run gets the newest commit of ``branch`` (a branch or tag), or ``commit_sha``.

    ``credentials`` name where a secret is, never the secret: ``{"access_token": {"$env": "GIT_TOKEN"}}`` or
    ``{"access_token": "{{ $GIT_TOKEN }}"}`` is read from the worker's environment when a run starts.
    ``directories`` limits what is fetched to these folders. ``pull_interval`` is the field's and has no effect:
    each run fetches.

    Raises:
        DeploymentError: a secret is given in clear, or both ``branch`` and ``commit_sha`` are.
    """

    url: str
    credentials: Json | None = None
    name: str | None = None
    branch: str | None = None
    commit_sha: str | None = None
    include_submodules: bool = False
    pull_interval: int | None = 60
    directories: list[str] | None = None

    def __post_init__(self) -> None:
        if self.branch and self.commit_sha:
            raise DeploymentError("Both branch and commit_sha are given; a commit says enough.")
        refuse_secrets(
            {"repository": self.url, "credentials": self.credentials}, f"The git repository {self.shown}"
        )

    @property
    def shown(self) -> str:
        """The address as people may see it."""
        return without_password(self.url)

    def step(self) -> Json:
        """Return the pull step that fetches it."""
        wanted = {
            "repository": self.url,
            "branch": self.branch,
            "commit_sha": self.commit_sha,
            "include_submodules": self.include_submodules or None,
            "directories": self.directories,
            "clone_directory_name": self.name,
            "credentials": self.credentials,
        }
        return {GIT_CLONE: {name: value for name, value in wanted.items() if value is not None}}

    def code(self) -> tuple[str | None, list[Json] | None]:
        """Return the step that fetches it."""
        return None, [self.step()]


def storage_of(source: str | os.PathLike[str] | Storage) -> Storage:
    """Return the storage that a path, a git address or a storage object means.

    Raises:
        DeploymentError: it is none of these.
    """
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        return GitRepository(text) if is_git_address(text) else LocalStorage(text)
    if hasattr(source, "code"):
        return source
    raise DeploymentError(
        f"{type(source).__name__} is no source of code. Give a path, a git address, GitRepository(...) or LocalStorage(...)."
    )


def is_git_address(text: str) -> bool:
    """Say whether text is the address of a repository: it has a scheme, ends in ``.git``, or is ``user@host:path``."""
    if re.match(r"(https?|ssh|git|file|git\+\w+)://", text):
        return True
    return text.endswith(".git") or re.match(r"[\w.-]+@[\w.-]+:", text) is not None


def without_password(url: str) -> str:
    """Return an address without what stands before the ``@`` of its host."""
    return re.sub(r"(\w+://)[^/@]*@", r"\1", url)


def refuse_secrets(step: Json, what: str) -> None:
    """Refuse a pull step that holds a secret in clear: it would lie readable in the database.

    Raises:
        DeploymentError: it does; the message says how to give a reference.
    """
    held = [
        name for name in ("access_token", "credentials") if step.get(name) and not is_reference(step[name])
    ]
    url = step.get("repository")
    if isinstance(url, str) and _has_secret(url):
        held.append("address")
    if held:
        raise DeploymentError(
            f"{what} has a secret in clear in its {' and '.join(held)}, and would be stored so. Put the secret into the "
            'worker\'s environment and name it: credentials={"access_token": {"$env": "GIT_TOKEN"}}, or '
            '"{{ $GIT_TOKEN }}" in headrace.yaml.'
        )


def _has_secret(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or is_reference(parts.netloc):
        return False
    # A user alone says who asks; some hosts take a token in its place.
    return parts.password is not None or _TOKEN.match(parts.username or "") is not None
