"""A bare copy of a repository on this machine, so that a run fetches only what has changed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import LoadError
from .git import Git, GitFailed

_MANY_PACKS = 50
"""Each fetch adds a pack; from this many on they are made one, since git looks into each of them."""


class Mirror:
    """The copy of one repository below a folder.

    Readers take no lock: nothing in a mirror is ever deleted while it stands (packs are joined with all that they
    hold). Writers hold a lock that their git processes inherit, so that a run killed in the middle leaves none
    that is forgotten, and no git process that writes unseen.
    """

    def __init__(self, folder: Path, git: Git) -> None:
        digest = hashlib.sha256(git.url.encode()).hexdigest()[:20]
        self.path = folder / f"{digest}.git"
        self._lock_path = folder / f"{digest}.lock"
        self._git = git

    def holds(self, commit: str) -> bool:
        """Say whether a commit, given by its whole id, is here."""
        if not (self.path / "HEAD").exists():
            return False
        try:
            self._git("cat-file", "-e", f"{commit}^{{commit}}", cwd=self.path)
        except GitFailed:
            return False
        return True

    def fetch(self, *names: str, unless: str | None = None, whole: bool = False) -> None:
        """Fetch refs or commit ids; their newest commit only, or with ``whole`` the history too.

        Nothing is fetched if the commit ``unless`` is here once the lock is held: another run was quicker.

        Raises:
            GitFailed: the remote does not have them, or cannot be reached.
            LoadError: another run held the lock for the whole time.
        """
        with self._locked() as lock:
            if unless is not None and self.holds(unless):
                return
            self._make()
            shallow = (self.path / "shallow").exists()
            depth = (["--unshallow"] if shallow else []) if whole else ["--depth=1"]
            specs = [f"+{name}:refs/headrace/{name}" if ":" not in name else name for name in names]
            fixed = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--end-of-options"]
            self._git(
                *fixed[:-1], *depth, *fixed[-1:], self._git.url, *specs, cwd=self.path, keep_open=[lock]
            )
            self._join_packs(lock)

    def find(self, name: str) -> str | None:
        """Return the whole id of the commit that a ref or an abbreviated id means here, or ``None``."""
        try:
            return self._git(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", cwd=self.path
            )
        except GitFailed:
            return None

    def drop(self) -> None:
        """Delete the copy: it is broken, and can be fetched again."""
        with self._locked():
            shutil.rmtree(self.path, ignore_errors=True)

    def _make(self) -> None:
        """Make the copy if there is none; clear what a killed writer left behind. The lock is held."""
        if (self.path / "HEAD").exists() and (self.path / "config").exists():
            for left in self.path.rglob("*.lock"):
                left.unlink(missing_ok=True)
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self._git("init", "--quiet", "--bare", "--template=", str(self.path), cwd=self.path.parent)
        # Every fetch a pack, however small: thousands of small files are slower.
        self._git("config", "fetch.unpackLimit", "1", cwd=self.path)

    def _join_packs(self, lock: int) -> None:
        if len(list(self.path.glob("objects/pack/*.pack"))) >= _MANY_PACKS:
            self._git("repack", "-a", "-d", "-q", "--keep-unreachable", cwd=self.path, keep_open=[lock])

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(lock)
            yield lock
        finally:
            os.close(lock)

    def _take(self, lock: int) -> None:
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > self._git.deadline:
                    url = self._git.shown(self._git.url)
                    raise LoadError(
                        f"Another run is still fetching {url} into {self.path}, and the time to wait for it is over.",
                        tried=url,
                    ) from None
                time.sleep(0.02)
