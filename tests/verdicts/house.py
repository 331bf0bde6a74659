"""A home folder, the server in front of it if there is one, and the scripts that were started in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx

from headrace.client.inprocess import InProcessTransport
from headrace.journal.reader import iterate
from headrace.journal.spool import Folder, Spool, owner_of, start_ticks
from headrace.model import entries, runs
from headrace.model.states import TERMINAL
from headrace.server.app import create_app
from headrace.server.store.database import Database
from headrace.settings import load

Json = dict[str, Any]
T = TypeVar("T")

PATIENCE_S = 30.0
"""How long anything without a limit of its own may take before a test gives up."""

SCRIPT_S = 2.0
"""Row 41: from the death of a plain script to the moment its state is on record."""

_LOOK_S = 0.015
HEADRACE = Path(sys.executable).with_name("headrace")


def share() -> float:
    """Return how many processes want each processor, at least 1 and at most 6.

    The limits hold where a processor is free; with ten processes on two, everything takes five times as long.
    """
    return min(max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), 6.0)


def until(
    look: Callable[[], T], what: str, *, within: float = PATIENCE_S, told: Callable[[], str] = str
) -> T:
    """Return what ``look`` returns once it is true; fail when that takes longer than ``within`` seconds."""
    began = time.monotonic()
    while not (found := look()):
        waited = time.monotonic() - began
        if waited > within and waited > within * share():
            raise AssertionError(
                f"Waited {waited:.2f} s (limit {within:g} s, {share():.1f} processes a processor) for {what}, "
                f"in vain.\n{told()}"
            )
        time.sleep(_LOOK_S)
    return found


def clean_environment(home: Path, **environ: object) -> dict[str, str]:
    """Return this process's environment with no setting but the home folder and ``environ``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "PREFECT_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # the limits are those of a machine that keeps its bytecode
    return {**kept, "HEADRACE_HOME": str(home), **{k: str(v) for k, v in environ.items()}}


class Process:
    """A process that a test started or found, named for ever by its pid and start time.

    ``started`` is that time, if it is known: who took the number since is somebody else.
    """

    def __init__(self, pid: int, started: int | None = None) -> None:
        self.pid = pid
        self._started = start_ticks(pid) if started is None else started

    def is_alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return self._started is not None and _state_of(self.pid) == self._started

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, and wait for its end if that is SIGKILL."""
        if self.is_alive():
            os.kill(self.pid, number)
        if number == signal.SIGKILL:
            until(lambda: not self.is_alive(), f"the end of process {self.pid}")


def _state_of(pid: int) -> int | None:
    """Return a process's start time, ``None`` for a zombie and for none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


class Script:
    """A started script with its journal."""

    def __init__(self, house: House, path: Path, process: subprocess.Popen[bytes], output: Path) -> None:
        self.house = house
        self.path = path
        self.process = process
        self.died_at = 0.0
        """When its end was seen, by ``time.monotonic()``."""
        self._output = output
        self._folder: Path | None = None
        self._reaper = threading.Thread(target=self._reap, daemon=True)
        self._reaper.start()

    def _reap(self) -> None:
        self.process.wait()  # at once, as a shell does: what can be seen of a zombie must not be needed
        self.died_at = time.monotonic()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def wait(self, within: float = PATIENCE_S) -> int:
        """Wait for its end; return its exit status (a signal as its negative number)."""
        self._reaper.join(within)
        if self._reaper.is_alive():
            raise AssertionError(f"The script runs on after {within:g} s.\n{self.told()}")
        return self.process.returncode

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal and wait for its end."""
        self.process.send_signal(number)
        self.wait()

    def output(self) -> str:
        """Return what it wrote to standard output and error."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def until_said(self, text: str, times: int = 1) -> None:
        """Wait until its output holds ``text``."""
        until(lambda: self.output().count(text) >= times, f"the script to say {text!r}", told=self.told)

    def folder(self) -> Folder | None:
        """Return where its journal lies now: in the spool or, when shipped, beside it."""
        if self._folder is not None:
            for parent in (self.house.spool.open, self.house.spool.shipped):
                if (parent / self._folder.name / "journal.jsonl").exists():
                    return Folder(parent / self._folder.name)
        for folder in [*self.house.spool.folders(), *self.house.spool.shipped_folders()]:
            header = owner_of(folder)
            if header is not None and header.pid == self.pid:
                self._folder = folder.path
                return folder
        return None

    def lines(self) -> list[tuple[int, entries.Entry | None]]:
        """Return the records of its journal; none before it has one."""
        for _ in range(3):  # the companion may move the folder between finding and reading it: look again
            folder = self.folder()
            if folder is not None:
                with contextlib.suppress(FileNotFoundError):
                    return list(iterate(folder.journal))
        return []

    def journal(self) -> runs.Journal:
        """Return what its journal tells by itself."""
        folder = self.folder()
        assert folder is not None, f"The script has no journal.\n{self.output()}"
        return runs.fold(runs.Journal(folder.id), self.lines())

    def companions(self) -> list[Process]:
        """Return the companions that took its journal over, first to last."""
        return [Process(entry.pid) for _, entry in self.lines() if isinstance(entry, entries.Adopted)]

    def companion(self, number: int = 1) -> Process:
        """Wait for its companion (or for the second, third, ... one) to take the journal over; return it."""
        found = until(
            lambda: self.companions()[number - 1 :], f"companion {number} to take over", told=self.told
        )
        return found[0]

    def root(self) -> str:
        """Wait for its first flow run and return that one's id."""
        return self.flow_run()

    def flow_run(self, flow: str | None = None) -> str:
        """Wait for the first run of a flow, by the flow's name, and return its id."""

        def look() -> str:
            for _, entry in self.lines():
                if isinstance(entry, entries.FlowRun) and flow in (None, entry.flow):
                    return entry.run
            return ""

        patience = PATIENCE_S if self.process.poll() is None else 5.0
        return until(look, f"a run of flow {flow or '(any)'}", within=patience, told=self.told)

    def told(self) -> str:
        """Return what can be said about it when something went wrong."""
        folder = self.folder()
        parts = [f"--- output of {self.path.name}", self.output()[-4000:]]
        if folder is not None:
            parts += [f"--- journal {folder.path}", folder.journal.read_text(errors="replace")[-3000:]]
            log = folder.path / "supervisor.log"
            parts += [log.read_text()] if log.exists() else []
        return "\n".join(parts)


class House:
    """Scripts and what is on record of them.

    ``url`` is a server's base URL with ``/api``; without one the home folder's database, or the one at
    ``database_url``, is read as the command line reads it: by the same application, in this process.
    """

    def __init__(self, folder: Path, url: str | None = None, *, database_url: str | None = None) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.url = url
        self.database_url = database_url
        self.spool = Spool(self.home)
        self.scripts: list[Script] = []
        self._client: httpx.Client | None = None
        self._closing = contextlib.ExitStack()

    @property
    def is_embedded(self) -> bool:
        """Whether no server stands before the database."""
        return self.url is None

    # -- scripts

    def environment(self, **environ: object) -> dict[str, str]:
        """Return the environment of what is started here."""
        given = {"HEADRACE_API_URL": self.url, "HEADRACE_DATABASE_URL": self.database_url}
        where = {name: value for name, value in given.items() if value is not None}
        return clean_environment(self.home, **{**where, **environ})

    def start(
        self,
        source: str,
        *arguments: str,
        stdin: Any = subprocess.DEVNULL,
        terminal: bool = False,
        **environ: object,
    ) -> Script:
        """Start a script with this source, in a session of its own, its output in a file."""
        number = len(self.scripts) + 1
        path = self.folder / f"script_{number}.py"
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        output = self.folder / f"output_{number}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, str(path), *arguments],
                cwd=self.folder,
                env=self.environment(**environ),
                stdin=stdin,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_take_terminal if terminal else None,
            )
        script = Script(self, path, process, output)
        self.scripts.append(script)
        return script

    def headrace(self, *arguments: str, within: float = PATIENCE_S) -> str:
        """Carry out a command of the command line and return its standard output."""
        done = subprocess.run(
            [str(HEADRACE), *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        assert done.returncode == 0, f"headrace {' '.join(arguments)}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def headrace_json(self, *arguments: str) -> Any:
        """Carry out a command with ``-o json`` and return what it prints, decoded."""
        return json.loads(self.headrace(*arguments, "-o", "json"))

    # -- what is on record

    @property
    def client(self) -> httpx.Client:
        """A client of the REST API, over the network or within this process."""
        if self._client is None:
            self._client = self._closing.enter_context(self._open_client())
        return self._client

    def _open_client(self) -> httpx.Client:
        if self.url is not None:
            return httpx.Client(base_url=self.url, timeout=5.0, trust_env=False)
        settings = load(clean_environment(self.home))
        database = Database.open(self.database_url, settings.home_path, direct=True)
        self._closing.callback(database.close)
        transport = InProcessTransport(create_app(settings, database, services=False))
        return httpx.Client(base_url="http://embedded/api", transport=transport)

    def get(self, path: str) -> Json | None:
        """Return what a path holds; ``None`` when there is nothing, or nobody to ask."""
        try:
            answer = self.client.get(path)
        except httpx.TransportError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def find(self, resource: str, filters: Json) -> list[Json]:
        """Return all that a filter finds."""
        found: list[Json] = []
        while True:
            body = {**filters, "limit": 200, "offset": len(found)}
            answer = self.client.post(f"/{resource}/filter", json=body)
            assert answer.status_code == 200, answer.text
            found += answer.json()
            if len(answer.json()) < 200:
                return found

    def flow_run(self, id: str) -> Json | None:
        """Return a flow run, with its history; ``None`` before it is on record."""
        return self.get(f"/flow_runs/{id}")

    def tasks(self, flow_run: str) -> list[Json]:
        """Return a flow run's task runs, each with its history, in the order of their making."""
        found = self.find(
            "task_runs",
            {"flow_runs": {"id": {"any_": [flow_run]}}, "sort": "EXPECTED_START_TIME_ASC"},
        )
        return [task for one in found if (task := self.get(f"/task_runs/{one['id']}")) is not None]

    def logs(self, flow_run: str, *, logger: str | None = None) -> list[str]:
        """Return the messages of a flow run's log, oldest first."""
        found = self.find("logs", {"logs": {"flow_run_id": {"any_": [flow_run]}}, "sort": "TIMESTAMP_ASC"})
        return [line["message"] for line in found if logger in (None, line["name"])]

    def until_state(
        self, flow_run: str, wanted: Callable[[Json], bool], what: str, *, within: float = PATIENCE_S
    ) -> Json:
        """Wait until a flow run on record is as wanted; return it."""
        seen: list[Json | None] = [None]

        def look() -> Json | None:
            seen[0] = self.flow_run(flow_run)
            return seen[0] if seen[0] is not None and wanted(seen[0]) else None

        def told() -> str:
            return f"On record: {json.dumps(seen[0], indent=1)[:3000]}\n" + "\n".join(
                s.told() for s in self.scripts
            )

        found = until(look, what, within=within, told=told)
        assert found is not None
        return found

    def end_of(self, script: Script, *, within: float = SCRIPT_S, flow: str | None = None) -> Json:
        """Return the flow run of a script that ends, once its end is on record.

        It fails when that is not within so many seconds of the process's death.
        """
        assert self.client  # opened beforehand: the limit is the script's and its companion's
        script.wait()
        run = script.flow_run(flow)
        since_death = time.monotonic() - script.died_at
        return self.until_state(
            run,
            lambda found: found["state_type"] in TERMINAL,
            f"the end of the flow run on record, {within:g} s after the death of its process",
            within=max(within - since_death, 0.1),
        )

    def every_run(self) -> Iterator[Json]:
        """Yield every flow run and task run of the scripts as it is on record, with its history."""
        for script in self.scripts:
            for run in script.journal().runs.values():
                found = self.get(f"/{'flow_runs' if run.is_flow else 'task_runs'}/{run.id}")
                assert found is not None, f"{run.id} is in the journal and not on record"
                yield found

    def assert_never_crashed(self) -> None:
        """Check that no run here was ever told to have crashed, not even for a moment."""
        found = list(self.every_run())

        assert found
        assert [
            (run["name"], state)
            for run in found
            for state in run["state_history"]
            if state["type"] == "CRASHED"
        ] == []

    def companions(self) -> list[Process]:
        """Return the living companions of this home folder, those that have not begun yet too."""
        mark = str(self.home).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if b"headrace.companion" in words and any(word.startswith(mark) for word in words):
                        found.append(Process(int(entry.name)))
        return found

    def close(self) -> None:
        """End what still runs: scripts, their companions; give the database back."""
        for script in self.scripts:
            if script.process.poll() is None:
                script.kill()
            if script.process.stdin is not None:
                script.process.stdin.close()
        for companion in self.companions():
            companion.kill()
        self._closing.close()


def _take_terminal() -> None:
    """Make standard input the controlling terminal, as a shell does for what runs in the foreground."""
    import fcntl  # between fork and exec: nothing else of this process may be touched
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def state_of(run: Json) -> tuple[str, str]:
    """Return a run's state as ``(type, name)``."""
    return run["state_type"], run["state_name"]


def evidence_of(run: Json) -> Json:
    """Return the evidence on a run's state; empty when there is none."""
    return ((run["state"] or {}).get("state_details") or {}).get("evidence") or {}


def history_of(run: Json) -> list[str]:
    """Return the names of a run's states, oldest first."""
    return [state["name"] for state in run["state_history"]]
