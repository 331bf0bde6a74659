"""Cloning: branches, tags, commits, folders, submodules, passwords, and all that can be missing."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.errors import LoadError
from headrace.sources.git import Credentials, Git
from headrace.sources.mirror import Mirror
from headrace.sources.repository import Repository, clone

from .repositories import Origin, serve

SECRET = "sesame/öffne+dich"


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "remotes" / "jobs")


@pytest.fixture
def mirrors(tmp_path: Path) -> Path:
    return tmp_path / "mirrors"


def test_a_clone_holds_the_newest_commit_of_the_default_branch(
    origin: Origin, mirrors: Path, tmp_path: Path
) -> None:
    """Its files, and a repository in which git answers questions about it."""
    origin.commit(flows="old")
    newest = origin.commit(flows="new")

    got = clone(Repository(origin.url), tmp_path / "a", mirrors=mirrors)

    assert got == newest
    assert (tmp_path / "a" / "flows.py").read_text() == "new"
    log = subprocess.run(["git", "log", "--format=%H"], cwd=tmp_path / "a", capture_output=True, text=True)
    assert (log.stdout.split(), log.stderr) == ([newest], "")
    status = subprocess.run(["git", "status", "--short"], cwd=tmp_path / "a", capture_output=True, text=True)
    assert status.stdout == ""


def test_branches_tags_and_commits_can_be_asked_for(origin: Origin, mirrors: Path, tmp_path: Path) -> None:
    """A branch goes before a tag of the same name; a commit before both, whole or abbreviated."""
    first = origin.commit(flows="first")
    origin.git("tag", "--annotate", "v1", "--message", "one")
    origin.git("tag", "both")
    second = origin.commit(flows="second")
    origin.git("checkout", "--quiet", "-b", "team/work")
    third = origin.commit(flows="third")
    origin.git("branch", "both")

    asked = {
        "branch": (Repository(origin.url, ref="team/work"), third),
        "main": (Repository(origin.url, ref="main"), second),
        "tag": (Repository(origin.url, ref="v1"), first),
        "both": (Repository(origin.url, ref="both"), third),
        "full": (Repository(origin.url, ref="refs/tags/both"), first),
        "commit": (Repository(origin.url, ref="main", commit=first), first),
        "short": (Repository(origin.url, commit=second[:8]), second),
        "again": (Repository(origin.url, ref="main"), second),
    }
    for name, (repository, commit) in asked.items():
        assert clone(repository, tmp_path / name, mirrors=mirrors) == commit, name
    assert (tmp_path / "tag" / "flows.py").read_text() == "first"


def test_each_run_gets_the_newest_commit_and_only_what_changed_is_fetched(
    origin: Origin, mirrors: Path, tmp_path: Path
) -> None:
    """A second clone of the same commit fetches nothing; a new commit is seen at once."""
    origin.commit(flows="one")
    with serve(origin.path.parent, None) as (base, seen):
        repository = Repository(f"{base}/jobs/.git")
        clone(repository, tmp_path / "a", mirrors=mirrors)
        once = seen.fetches
        clone(repository, tmp_path / "b", mirrors=mirrors)
        assert (once, seen.fetches) == (1, 1)
        origin.commit(flows="two")
        clone(repository, tmp_path / "c", mirrors=mirrors)

    assert [(tmp_path / name / "flows.py").read_text() for name in "abc"] == ["one", "one", "two"]


def test_only_the_folders_asked_for_are_there(origin: Origin, mirrors: Path, tmp_path: Path) -> None:
    """Beside them only the files at the top."""
    origin.commit(top="x", etl__daily__flows="x", etl__other__flows="x", docs__page="x")

    clone(Repository(origin.url, directories=("etl/daily/",)), tmp_path / "a", mirrors=mirrors)

    files = {str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*.py")}
    assert files == {"top.py", "etl/daily/flows.py"}
    with pytest.raises(LoadError, match=r"has no folder 'etl/weekly' at commit"):
        clone(Repository(origin.url, directories=("etl/weekly",)), tmp_path / "b", mirrors=mirrors)


def test_submodules_come_when_asked_for(
    origin: Origin, mirrors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git refuses submodules in folders unless told; the setting in the environment is kept beside ours."""
    for name, value in (("COUNT", "1"), ("KEY_0", "protocol.file.allow"), ("VALUE_0", "always")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    library = Origin(tmp_path / "remotes" / "library")
    library.commit(shared="x")
    origin.git("submodule", "--quiet", "add", library.url, "library")
    origin.commit(flows="x")

    clone(Repository(origin.url, submodules=True), tmp_path / "with", mirrors=mirrors)
    clone(Repository(origin.url), tmp_path / "without", mirrors=mirrors)

    assert (tmp_path / "with" / "library" / "shared.py").exists()
    assert not (tmp_path / "without" / "library" / "shared.py").exists()


@pytest.mark.parametrize("place", ["credentials", "url"])
def test_a_password_is_used_and_shown_nowhere(
    origin: Origin, mirrors: Path, tmp_path: Path, place: str
) -> None:
    """Not in a command line, not in a file, not in a message; the wrong one is told without it."""
    origin.commit(flows="x")
    with serve(origin.path.parent, SECRET) as (base, seen):
        url = f"{base}/jobs/.git"
        credentials = Credentials("robot", SECRET)
        if place == "url":
            quoted = "sesame%2F%C3%B6ffne+dich"
            url, credentials = url.replace("//", f"//robot:{quoted}@", 1), None
        clone(Repository(url), tmp_path / "a", mirrors=mirrors, credentials=credentials)
        with pytest.raises(LoadError) as refused:
            clone(
                Repository(url.replace("sesame", "Sesame"), ref="gone"),
                tmp_path / "b",
                mirrors=mirrors,
                credentials=credentials and Credentials("robot", "Sesame"),
            )

    assert "robot" in seen.users
    assert any("remote-http" in line for line in seen.command_lines), "the clients were looked at"
    kept = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    kept += [path for path in mirrors.rglob("*") if path.is_file()]
    for text in [*seen.command_lines, str(refused.value), refused.value.tried]:
        assert "esame" not in text
    assert [path for path in kept if b"esame" in path.read_bytes()] == []
    assert "Authentication failed" in str(refused.value)


def test_no_password_is_asked_for(origin: Origin, mirrors: Path, tmp_path: Path) -> None:
    """A private repository without credentials fails at once, with git's last line."""
    origin.commit(flows="x")
    with serve(origin.path.parent, SECRET) as (base, _), pytest.raises(LoadError) as raised:
        clone(Repository(f"{base}/jobs/.git"), tmp_path / "a", mirrors=mirrors)

    assert "cannot be reached. Git says: fatal: could not read Username" in str(raised.value)


def test_a_helper_of_the_user_does_not_get_the_password(
    origin: Origin, mirrors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``credential.helper=store`` would write it into a file."""
    store = tmp_path / "kept"
    (tmp_path / "gitconfig").write_text(f'[credential]\n\thelper = "store --file={store}"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    origin.commit(flows="x")
    with serve(origin.path.parent, SECRET) as (base, _):
        url = f"{base}/jobs/.git"
        clone(Repository(url), tmp_path / "a", mirrors=mirrors, credentials=Credentials("robot", SECRET))

    assert not store.exists()


@pytest.mark.parametrize(
    ("token", "host", "user"),
    [
        ("abc", "github.com", "x-access-token"),
        ("abc", "gitlab.example.com", "oauth2"),
        ("abc", "bitbucket.org", "x-token-auth"),
        ("me:abc", "github.com", "me"),
    ],
)
def test_a_bare_token_gets_the_user_name_of_its_host(token: str, host: str, user: str) -> None:
    """Each of the big hosts wants another; ``user:token`` says its own."""
    assert Credentials.of_token(token, f"https://{host}/a/b.git") == Credentials(user, "abc")


def test_what_is_missing_is_told(origin: Origin, mirrors: Path, tmp_path: Path) -> None:
    """Repository, branch, commit: each with what was tried and, where it can, what is there instead."""
    origin.commit(flows="x")
    origin.git("branch", "release-7")

    def told(repository: Repository) -> str:
        with pytest.raises(LoadError) as raised:
            clone(repository, tmp_path / "a", mirrors=mirrors)
        assert str(tmp_path) in raised.value.tried
        return str(raised.value)

    assert "cannot be reached. Git says: " in told(Repository((tmp_path / "nowhere").as_uri()))
    assert "has no branch and no tag named 'release-8'. It has release-7." in told(
        Repository(origin.url, ref="release-8")
    )
    assert f"has no commit {'12ab' * 10}" in told(Repository(origin.url, commit="12ab" * 10))
    assert "has no commit abcdef12" in told(Repository(origin.url, commit="abcdef12"))
    assert "cannot be the name of a branch" in told(Repository(f"{origin.url}", ref="--upload-pack=touch x"))
    assert "is no commit id" in told(Repository(origin.url, commit="main"))
    empty = Origin(tmp_path / "remotes" / "empty")
    assert "has no commit yet" in told(Repository(empty.url))


def test_an_address_that_looks_like_an_option_is_refused(mirrors: Path, tmp_path: Path) -> None:
    """Git would carry it out."""
    with pytest.raises(LoadError, match="is no address of a git repository"):
        clone(Repository("--upload-pack=touch x"), tmp_path / "a", mirrors=mirrors)


@pytest.mark.parametrize("host", ["host", "[host"])
def test_a_password_that_breaks_its_address_is_not_told(mirrors: Path, tmp_path: Path, host: str) -> None:
    """A slash in it ends the host's part: git would tell all of it."""
    with pytest.raises(LoadError, match="cannot be read as a URL") as raised:
        clone(Repository(f"https://me:{SECRET}@{host}/x"), tmp_path / "a", mirrors=mirrors)

    assert "sesame" not in str(raised.value)


def test_a_folder_in_use_is_not_written_over(origin: Origin, mirrors: Path, tmp_path: Path) -> None:
    """Two clones of a repository in one run need two names."""
    origin.commit(flows="x")
    clone(Repository(origin.url), tmp_path / "a", mirrors=mirrors)

    with pytest.raises(LoadError, match="something is there already"):
        clone(Repository(origin.url), tmp_path / "a", mirrors=mirrors)


def test_a_machine_without_git_says_so(origin: Origin, mirrors: Path, tmp_path: Path) -> None:
    """Many containers have none."""
    environ = {"PATH": str(tmp_path)}
    (tmp_path / "bin").mkdir()
    code = (
        "import pathlib, sys\n"
        "from headrace.sources.repository import Repository, clone\n"
        f"clone(Repository({origin.url!r}), pathlib.Path({str(tmp_path / 'a')!r}), "
        f"mirrors=pathlib.Path({str(mirrors)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)

    assert "there is no `git` on this machine's PATH" in done.stderr


def test_a_silent_remote_is_given_up(mirrors: Path, tmp_path: Path) -> None:
    """It accepts the connection and never answers; no git process stays behind."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/jobs.git"
        with pytest.raises(LoadError, match=r"took longer than 0\.5 s and was given up"):
            clone(Repository(url), tmp_path / "a", mirrors=mirrors, timeout_s=0.5)
        silent.settimeout(10)
        connection, _ = silent.accept()
        connection.settimeout(10)
        while connection.recv(65536):  # an end: the process that spoke is gone
            pass
        connection.close()


def test_thirty_runs_at_once_get_whole_clones(origin: Origin, mirrors: Path, tmp_path: Path) -> None:
    """They share one mirror, which only one of them makes."""
    commit = origin.commit(flows="x" * 5000, other="y")
    with serve(origin.path.parent, None) as (base, seen):
        repository = Repository(f"{base}/jobs/.git")
        with ThreadPoolExecutor(10) as pool:
            got = list(pool.map(lambda n: clone(repository, tmp_path / f"r{n}", mirrors=mirrors), range(30)))

    assert got == [commit] * 30
    assert {(tmp_path / f"r{n}" / "flows.py").stat().st_size for n in range(30)} == {5000}
    assert seen.fetches == 1


def test_what_a_killed_writer_left_does_not_stop_the_next(
    origin: Origin, mirrors: Path, tmp_path: Path
) -> None:
    """Git's lock files stay when it is killed; a mirror that was only begun is made anew."""
    origin.commit(flows="one")
    repository = Repository(origin.url)
    clone(repository, tmp_path / "a", mirrors=mirrors)
    mirror = next(mirrors.glob("*.git"))
    for name in ("shallow.lock", "HEAD.lock", "packed-refs.lock", "refs/headrace/HEAD.lock"):
        (mirror / name).touch()
    origin.commit(flows="two")
    clone(repository, tmp_path / "b", mirrors=mirrors)
    (mirror / "config").unlink()
    origin.commit(flows="three")
    clone(repository, tmp_path / "c", mirrors=mirrors)

    assert [(tmp_path / name / "flows.py").read_text() for name in "abc"] == ["one", "two", "three"]


@pytest.mark.parametrize("damage", ["emptied", "truncated", "deleted"])
def test_a_damaged_mirror_is_made_anew(origin: Origin, mirrors: Path, tmp_path: Path, damage: str) -> None:
    """A power cut may leave files of zeros or none; the next run heals it."""
    commit = origin.commit(flows="one" * 1000)
    clone(Repository(origin.url), tmp_path / "a", mirrors=mirrors)
    for pack in mirrors.rglob("*.pack"):
        pack.chmod(0o600)
        if damage == "deleted":
            pack.unlink()
        else:
            pack.write_bytes(b"" if damage == "emptied" else pack.read_bytes()[:40])

    assert clone(Repository(origin.url), tmp_path / "b", mirrors=mirrors) == commit
    assert clone(Repository(origin.url, commit=commit), tmp_path / "c", mirrors=mirrors) == commit
    assert (tmp_path / "c" / "flows.py").read_text() == "one" * 1000


def test_a_lock_that_another_holds_for_ever_is_told(origin: Origin, mirrors: Path, tmp_path: Path) -> None:
    """Within the time given."""
    origin.commit(flows="x")
    mirror = Mirror(mirrors, Git(origin.url))
    mirrors.mkdir()
    with open(mirror.path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LoadError, match="Another run is still fetching"):
            clone(Repository(origin.url), tmp_path / "a", mirrors=mirrors, timeout_s=1.0)


def test_a_run_killed_while_it_fetches_leaves_nothing_in_the_way(
    origin: Origin, mirrors: Path, tmp_path: Path
) -> None:
    """Its git process may still be writing; the next run waits for that and has what it needs."""
    commit = origin.commit(flows="x")
    fetching, go = threading.Event(), threading.Event()

    def hold() -> None:
        fetching.set()
        assert go.wait(30)

    with serve(origin.path.parent, None, before_files=hold) as (base, _):
        url = f"{base}/jobs/.git"
        code = (
            "import pathlib\nfrom headrace.sources.repository import Repository, clone\n"
            f"clone(Repository({url!r}), pathlib.Path({str(tmp_path / 'a')!r}), "
            f"mirrors=pathlib.Path({str(mirrors)!r}))\n"
        )
        run = subprocess.Popen([sys.executable, "-c", code])
        assert fetching.wait(30)
        run.kill()
        run.wait()
        with ThreadPoolExecutor(1) as pool:
            later = pool.submit(clone, Repository(url), tmp_path / "b", mirrors=mirrors, timeout_s=30)
            go.set()
            assert later.result() == commit

    assert (tmp_path / "b" / "flows.py").read_text() == "x"


def test_a_lock_lives_as_long_as_the_git_process_that_writes(
    origin: Origin, mirrors: Path, tmp_path: Path
) -> None:
    """Its run may be killed at any moment; git goes on writing, and the lock with it."""
    origin.commit(flows="x")
    git = Git(origin.url)
    ready, go = tmp_path / "ready", tmp_path / "go"
    os.mkfifo(ready)
    os.mkfifo(go)
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    alias = f"alias.wait=!echo > {ready}; cat {go}"
    writer = threading.Thread(
        target=lambda: git("-c", alias, "wait", cwd=origin.path, keep_open=[lock]), daemon=True
    )
    writer.start()
    ready.read_text()
    os.close(lock)  # as the death of the run does

    with open(tmp_path / "lock") as another:
        with pytest.raises(BlockingIOError):
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
        go.write_text("on")
        writer.join(10)
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_many_packs_become_one_and_old_clones_stay_whole(
    origin: Origin, mirrors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone borrows from its mirror: joining packs must not take anything away, not even what no ref has."""
    monkeypatch.setattr("headrace.sources.mirror._MANY_PACKS", 4)
    for number in range(6):
        origin.commit(flows=f"version {number}" + "x" * 400)
        clone(Repository(origin.url), tmp_path / str(number), mirrors=mirrors)

    assert len(list(mirrors.rglob("*.pack"))) < 4
    for number in range(6):
        shown = subprocess.run(
            ["git", "show", "HEAD:flows.py"], cwd=tmp_path / str(number), capture_output=True, text=True
        )
        assert shown.stdout.startswith(f"version {number}"), shown.stderr


def test_deleting_all_mirrors_hurts_no_later_run(origin: Origin, mirrors: Path, tmp_path: Path) -> None:
    """The folder is only a copy."""
    origin.commit(flows="x")
    clone(Repository(origin.url), tmp_path / "a", mirrors=mirrors)
    shutil.rmtree(mirrors)

    clone(Repository(origin.url), tmp_path / "b", mirrors=mirrors)

    assert (tmp_path / "b" / "flows.py").exists()
