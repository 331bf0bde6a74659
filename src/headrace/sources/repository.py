"""Puts the files of one commit of a git repository into a folder of a run's own."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import LoadError
from .git import TIMEOUT_S, Credentials, Git, GitFailed, split_url
from .mirror import Mirror

_WHOLE_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_ID = re.compile(r"[0-9a-fA-F]{4,64}")
_NO_REF = re.compile(r"^[-/.]|[\s:^~?*\[\\\x00-\x1f\x7f]|\.\.|@\{|//|[/.]$|\.lock$")


@dataclass(frozen=True)
class Repository:
    """Which commit of which repository, and how much of it."""

    url: str
    """Anything git can clone; a password in it is used and not kept."""
    ref: str | None = None
    """A branch or a tag; a branch goes first where both have the name. ``None``: the remote's default branch."""
    commit: str | None = None
    """A commit's id, whole or abbreviated; it goes before ``ref``."""
    directories: tuple[str, ...] = ()
    """The folders to have, beside the files at the top; none: all."""
    submodules: bool = False
    """Whether submodules are fetched too, and theirs."""

    @property
    def folder_name(self) -> str:
        """The name of the folder that holds it: the repository's, and the ref's if one is asked for."""
        name = re.split(r"[/:\\]", split_url(self.url)[0].rstrip("/"))[-1]
        name = name.removesuffix(".git") or "repository"
        return f"{name}-{self.ref.replace('/', '-')}" if self.ref else name


def clone(
    repository: Repository,
    into: Path,
    *,
    mirrors: Path,
    credentials: Credentials | None = None,
    timeout_s: float = TIMEOUT_S,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Make the folder ``into``, put the commit's files there, and return the commit's whole id.

    ``into`` must not exist or be empty. ``mirrors`` is the folder of the copies that all runs share; the new folder
    borrows the objects of its mirror, its files are its own. Credentials go to the repository's host only.

    Raises:
        LoadError: git, the repository, the branch, the commit or a folder is missing, or the time is over.
    """
    url, inside = split_url(repository.url)
    _check(repository, url, into)
    git = Git(url, credentials=inside or credentials, timeout_s=timeout_s, environ=environ)
    mirror = Mirror(mirrors, git)
    into.mkdir(parents=True, exist_ok=True)
    commit = _obtain(repository, git, mirror, into)
    try:
        _check_out(repository, commit, into, git, mirror)
    except GitFailed:
        # The copy may be damaged (a power cut): with a new one it works, or git says what is really wrong.
        mirror.drop()
        commit = _obtain(repository, git, mirror, into)
        with _told(repository, git, "cannot be checked out"):
            _check_out(repository, commit, into, git, mirror)
    if repository.submodules:
        with _told(repository, git, "has submodules that cannot be fetched"):
            git("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1", cwd=into)
    return commit


def _check(repository: Repository, url: str, into: Path) -> None:
    if not url or url.startswith("-"):
        raise LoadError(f"{url!r} is no address of a git repository.", tried=url)
    if repository.ref is not None and _NO_REF.search(repository.ref):
        raise LoadError(f"{repository.ref!r} cannot be the name of a branch or tag of {url}.", tried=url)
    if repository.commit is not None and not _ID.fullmatch(repository.commit):
        raise LoadError(
            f"{repository.commit!r} is no commit id of {url}: give 4 to 64 hexadecimal digits.", tried=url
        )
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise LoadError(
            f"{url} is to be cloned into {into}, but something is there already. Give another "
            "clone_directory_name.",
            tried=url,
        )


# -- which commit


def _obtain(repository: Repository, git: Git, mirror: Mirror, cwd: Path) -> str:
    """Return the id of the commit meant, once the mirror holds it."""
    if repository.commit is not None:
        return _obtain_commit(repository, repository.commit.lower(), git, mirror)
    ref, commit = _resolve(repository, git, cwd)
    if not mirror.holds(commit):
        try:
            mirror.fetch(ref, unless=commit)
        except GitFailed:
            # The remote has just answered: it is the copy that is at fault, or the second try tells.
            mirror.drop()
            with _told(repository, git, "cannot be fetched"):
                mirror.fetch(ref, unless=commit)
        if not mirror.holds(commit):  # the branch has moved on since it was looked up
            commit = mirror.find(f"refs/headrace/{ref}") or commit
    return commit


def _resolve(repository: Repository, git: Git, cwd: Path) -> tuple[str, str]:
    """Ask the remote for the ref meant and return its full name and its commit."""
    wanted = ["HEAD"] if repository.ref is None else _full_names(repository.ref)
    with _told(repository, git, "cannot be reached"):
        answer = git("ls-remote", "--quiet", "--end-of-options", git.url, *wanted, cwd=cwd)
    found = {name: commit for commit, _, name in (line.partition("\t") for line in answer.splitlines())}
    for name in wanted:
        if name in found:
            return name, found.get(name + "^{}", found[name])
    if repository.ref is None:
        raise LoadError(f"{git.shown(git.url)} has no commit yet: push one first.", tried=git.shown(git.url))
    with _told(repository, git, "cannot be reached"):
        message = _no_such_ref(repository.ref, git, cwd)
    raise LoadError(message, tried=git.shown(git.url))


def _full_names(ref: str) -> list[str]:
    if ref.startswith("refs/"):
        return [ref, ref + "^{}"]
    return [f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/tags/{ref}^{{}}"]


def _no_such_ref(ref: str, git: Git, cwd: Path) -> str:
    names = [
        line.partition("\t")[2].removeprefix("refs/heads/").removeprefix("refs/tags/")
        for line in git("ls-remote", "--quiet", "--heads", "--tags", "--refs", git.url, cwd=cwd).splitlines()
    ]
    near = difflib.get_close_matches(ref, names, n=3) or names[:5]
    hint = f" It has {', '.join(near)}." if near else ""
    return f"{git.shown(git.url)} has no branch and no tag named {ref!r}.{hint}"


def _obtain_commit(repository: Repository, commit: str, git: Git, mirror: Mirror) -> str:
    if _WHOLE_ID.fullmatch(commit):
        if mirror.holds(commit):
            return commit
        try:
            mirror.fetch(commit, unless=commit)
            return commit
        except GitFailed:
            pass  # not every server gives a commit by its id; its branches may have it
    with _told(repository, git, "cannot be fetched"):
        mirror.fetch(
            "+refs/heads/*:refs/headrace/refs/heads/*", "+refs/tags/*:refs/headrace/refs/tags/*", whole=True
        )
    found = mirror.find(commit)
    if found is None:
        url = git.shown(git.url)
        raise LoadError(
            f"{url} has no commit {commit} on any branch or tag (or the abbreviated id means several). Was it "
            "pushed? Was its branch rewritten?",
            tried=f"{url} at {commit}",
        )
    return found


# -- its files


def _check_out(repository: Repository, commit: str, into: Path, git: Git, mirror: Mirror) -> None:
    git("init", "--quiet", "--template=", cwd=into)
    made = into / ".git"
    (made / "objects" / "info").mkdir(parents=True, exist_ok=True)
    (made / "objects" / "info" / "alternates").write_text(f"{mirror.path / 'objects'}\n", encoding="utf-8")
    (made / "shallow").write_text(f"{commit}\n", encoding="utf-8")  # the history may not be there
    git("config", "remote.origin.url", git.url, cwd=into)
    if repository.directories:
        _narrow(repository, commit, into, git)
    git("checkout", "--quiet", "--force", "--detach", commit, cwd=into)


def _narrow(repository: Repository, commit: str, into: Path, git: Git) -> None:
    for directory in repository.directories:
        try:
            kind = git("cat-file", "-t", f"{commit}:{directory.strip('/')}", cwd=into)
        except GitFailed:
            kind = "missing"
        if kind != "tree" or directory.startswith("-"):
            url = git.shown(git.url)
            raise LoadError(
                f"{url} has no folder {directory!r} at commit {commit[:12]}.", tried=f"{url}, {directory}"
            )
    git("sparse-checkout", "init", "--cone", cwd=into)  # `set --cone` needs a git of 2022
    git("sparse-checkout", "set", *(name.strip("/") for name in repository.directories), cwd=into)


@contextlib.contextmanager
def _told(repository: Repository, git: Git, what: str) -> Iterator[None]:
    """What git says in the block becomes a :class:`LoadError` that says which repository it is about."""
    try:
        yield
    except GitFailed as error:
        url = git.shown(git.url)
        ref = f" at {repository.ref}" if repository.ref else ""
        raise LoadError(f"{url}{ref} {what}. Git says: {error}", tried=url) from None
