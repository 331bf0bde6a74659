"""A server, a worker of a pool, and the deployments and runs that are given to it: all of them real processes."""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import select
import signal
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from headrace.journal.reader import iterate
from headrace.journal.spool import Folder, owner_of
from headrace.model import entries, runs
from headrace.model.states import TERMINAL

from .house import HEADRACE, PATIENCE_S, House, Json, Process, share, until
from .server import Server

POOL = "crew"
_LOOK_S = 0.005
_END_S = 20.0


class Worker:
    """One worker of the pool ``crew``: ``headrace worker start``, its output in a file."""

    def __init__(self, crew: Crew, name: str, options: tuple[str, ...], environ: Json) -> None:
        self.crew = crew
        self.name = name
        self._options = options
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self._log = crew.folder / f"worker_{name}.log"
        self._seen = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Worker:
        """Start it, or start it again under the same name; return when it asks for runs."""
        self._seen = len(self.output())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(HEADRACE), "worker", "start", "-p", POOL, "-n", self.name, *self._options],
                cwd=self.crew.folder,
                env=self.crew.environment(**self._environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.until_said("takes runs of")
        return self

    def kill(self) -> None:
        """End it by SIGKILL; its template process goes with it, its runs do not."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def terminate(self) -> None:
        """Tell it to stop, as an operator does; it is not waited for."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, within: float = PATIENCE_S) -> int:
        """Wait for its end; return its exit status (a signal as its negative number)."""
        assert self._process is not None
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"The worker runs on after {within:g} s.\n{self.output()}") from None

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """Return what it, and the runs that it shows, have written since it was made."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def until_said(self, text: str, *, within: float = PATIENCE_S) -> None:
        """Wait until it has written ``text`` since its last start."""

        def look() -> bool:
            lives = self.is_alive()
            if text in self.output()[self._seen :]:
                return True
            assert lives, f"The worker ended before it said {text!r}.\n{self.output()}"
            return False

        until(look, f"worker {self.name!r} to say {text!r}", within=within, told=self.output)

    def template(self) -> Process | None:
        """Return its template process, ``None`` where it has none yet."""
        for pid in _children(self.pid):
            with contextlib.suppress(OSError):
                if b"headrace.template" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return Process(pid)
        return None


def _children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


class Deployment(NamedTuple):
    """A deployment to the pool, and the folder with its code."""

    id: str
    name: str
    folder: Path


class Run:
    """One flow run of a deployment; its attempts, their processes and their journals.

    A thread looks out for the death of each of its processes: limits are counted from there.
    """

    def __init__(self, crew: Crew, id: str) -> None:
        self.crew = crew
        self.id = id
        self.deaths: dict[str, float] = {}
        """When the process of an attempt was seen to end, by ``time.time()``, by the attempt's journal."""
        self._folders: dict[str, str] = {}
        self._others: set[str] = set()
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="deaths", daemon=True)
        self._watcher.start()

    # -- attempts and their journals

    def folders(self) -> list[Folder]:
        """Return the journals of its attempts, first to last, wherever they lie now."""
        spool = self.crew.spool
        for folder in [*spool.folders(), *spool.shipped_folders()]:
            if folder.id not in self._others and folder.id not in self._folders:
                self._sort(folder)
        found = []
        for journal in self._folders:
            for parent in (spool.open, spool.shipped):
                if (parent / journal / "journal.jsonl").exists():
                    found.append(Folder(parent / journal))
                    break
        headers = {folder.id: owner_of(folder) for folder in found}
        return sorted(found, key=lambda folder: header.attempt if (header := headers[folder.id]) else 0)

    def _sort(self, folder: Folder) -> None:
        order = folder.order()
        run = order.claim.run.id if order is not None else _planned_run(folder)
        if run == self.id:
            self._folders[folder.id] = run
        elif run:
            self._others.add(folder.id)

    def folder(self, attempt: int = 1) -> Folder:
        """Wait for an attempt's journal and return its folder, wherever it lies now."""

        def look() -> Folder | None:
            for folder in self.folders():
                header = owner_of(folder)
                if header is not None and header.attempt == attempt:
                    return folder
            return None

        found = until(look, f"attempt {attempt} of run {self.id}", told=self.told)
        assert found is not None
        return found

    def lines(self, attempt: int = 1) -> list[entries.Entry]:
        """Return the records of an attempt's journal."""
        return [entry for _, entry in self._records(attempt)[1] if entry is not None]

    def journal(self, attempt: int = 1) -> runs.Journal:
        """Return what an attempt's journal tells by itself."""
        id, records = self._records(attempt)
        return runs.fold(runs.Journal(id), records)

    def header(self, attempt: int = 1) -> entries.Open:
        """Return the first record of an attempt's journal."""
        found = self.lines(attempt)[0]
        assert isinstance(found, entries.Open)
        return found

    def _records(self, attempt: int) -> tuple[str, list[tuple[int, entries.Entry | None]]]:
        """Return the id of an attempt's journal and what it holds."""
        for _ in range(3):  # the supervisor may move the folder between finding and reading it: look again
            with contextlib.suppress(FileNotFoundError):
                folder = self.folder(attempt)
                return folder.id, list(iterate(folder.journal))
        raise AssertionError(f"The journal of run {self.id} cannot be found.\n{self.told()}")

    def process(self, attempt: int = 1) -> Process:
        """Wait for the process that carries an attempt out; return it."""
        header = self.header(attempt)
        return Process(header.pid, header.started)

    def supervisors(self, attempt: int = 1) -> list[Process]:
        """Return the supervisors that stood over an attempt, first to last."""
        return [Process(entry.pid) for entry in self.lines(attempt) if isinstance(entry, entries.Adopted)]

    def supervisor(self, number: int = 1, *, attempt: int = 1) -> Process:
        """Wait for an attempt's supervisor (or for the second, third, ... one); return it."""
        return until(
            lambda: self.supervisors(attempt)[number - 1 :],
            f"supervisor {number} of run {self.id}",
            told=self.told,
        )[0]

    # -- what it says and does

    def output(self, attempt: int = 1) -> str:
        """Return what an attempt printed so far; nothing once its journal is shipped: then its log has it."""
        with contextlib.suppress(FileNotFoundError):
            return self.folder(attempt).output.read_text(encoding="utf-8", errors="replace")
        return ""

    def until_said(self, text: str, *, attempt: int = 1, within: float = PATIENCE_S) -> str:
        """Wait until an attempt that goes on has printed a line with ``text``; return the rest of that line."""

        def look() -> list[str]:
            lines = self.output(attempt).splitlines(keepends=True)
            return [line for line in lines if text in line and line.endswith("\n")]

        line = until(look, f"run {self.id} to print {text!r}", within=within, told=self.told)[0]
        return line.split(text, 1)[1].strip()

    def kill(self, number: int = signal.SIGKILL, *, attempt: int = 1) -> None:
        """Send the process of an attempt a signal, and wait for its end if that is SIGKILL."""
        self.process(attempt).kill(number)

    # -- what is on record

    def record(self) -> Json:
        """Return it as it is on record, with its history."""
        found = self.crew.flow_run(self.id)
        assert found is not None, f"Run {self.id} is not on record."
        return found

    def until(
        self, wanted: Callable[[Json], Any], what: str = "its state on record", *, within: float = PATIENCE_S
    ) -> Json:
        """Wait until it is on record as wanted; return it."""
        seen: list[Json | None] = [None]

        def look() -> Json | None:
            seen[0] = self.crew.flow_run(self.id)
            return seen[0] if seen[0] is not None and wanted(seen[0]) else None

        found = until(
            look,
            f"{what} (run {self.id})",
            within=within,
            told=lambda: f"On record: {seen[0]}\n{self.told()}",
        )
        assert found is not None
        return found

    def until_running(self) -> Json:
        """Wait until it is on record as Running; return it."""
        return self.until(lambda run: run["state_type"] == "RUNNING", "it to run")

    def end(self, within: float = 1.0, *, patience: float = PATIENCE_S) -> Json:
        """Wait for a terminal state on record; return the run.

        It fails when that is seen more than ``within`` seconds after the death of the process, or not within
        ``patience``. Of a process that has not died, nothing is counted.
        """
        run = self.until(lambda one: one["state_type"] in TERMINAL, "its end on record", within=patience)
        seen = time.time()
        late = seen - self._died(seen)
        assert late <= within * share(), (
            f"The end of run {self.id} was on record {late:.2f} s after the death of its process (limit "
            f"{within:g} s, {share():.1f} processes a processor).\n{self.told()}"
        )
        return run

    def _died(self, seen: float) -> float:
        """Return when the last process was seen to end; ``seen`` if it lives, as then nothing is late."""
        headers = [header for folder in self.folders() if (header := owner_of(folder)) is not None]
        if not headers:
            return seen
        last = max(headers, key=lambda header: header.attempt)
        if last.journal in self.deaths:
            return self.deaths[last.journal]
        exits = [entry.t for entry in self.lines(last.attempt) if isinstance(entry, entries.Exit)]
        return exits[-1] / 1e6 if exits else seen

    def told(self) -> str:
        """Return what can be said about it when something went wrong."""
        parts = []
        for folder in self.folders():
            parts.append(f"--- journal {folder.path}")
            for file in (folder.journal, folder.path / "supervisor.log"):
                with contextlib.suppress(FileNotFoundError):
                    parts.append(file.read_text(errors="replace")[-4000:])
        return "\n".join([*parts, self.crew.told()])

    def close(self) -> None:
        """End what is left of it, process and supervisor."""
        self._closed.set()
        self._watcher.join()
        for folder in self.folders():
            header = owner_of(folder)
            if header is not None and header.pid:  # 0: nothing could be started
                Process(header.pid, header.started).kill()

    def _watch(self) -> None:
        """See each of its processes end: at once, by its pidfd."""
        watched: dict[int, str] = {}
        known: set[str] = set()
        poll = select.poll()
        while not self._closed.is_set():
            for folder in self.folders():
                if folder.id not in known and (header := owner_of(folder)) is not None:
                    known.add(folder.id)
                    if not header.pid:  # nothing could be started
                        continue
                    with contextlib.suppress(ProcessLookupError):  # it was quicker; its supervisor saw it
                        fd = os.pidfd_open(header.pid)
                        watched[fd] = folder.id
                        poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll(_LOOK_S * 1000):
                self.deaths[watched.pop(fd)] = time.time()
                poll.unregister(fd)
                os.close(fd)
            if not watched:
                self._closed.wait(_LOOK_S)
        for fd in watched:
            os.close(fd)


def _planned_run(folder: Folder) -> str:
    with contextlib.suppress(OSError):
        for _, entry in itertools.islice(iterate(folder.journal), 3):
            if isinstance(entry, entries.FlowRun) and entry.planned:
                return entry.run
    return ""


class Crew(House):
    """A home folder with a worker, and the server whose pool ``crew`` it works for.

    ``url`` is by which way the worker reaches the server, where that is not the direct one (``Network.url``);
    what the tests ask goes the direct way.
    """

    def __init__(self, folder: Path, server: Server, *, url: str | None = None) -> None:
        super().__init__(folder, server.url)
        folder.mkdir(parents=True, exist_ok=True)
        self.server = server
        self._way = url
        self.workers: list[Worker] = []
        self.runs: list[Run] = []
        self._numbers = itertools.count(1)
        self._closed = False

    def environment(self, **environ: object) -> dict[str, str]:
        """Return the environment of what is started here."""
        way = {"HEADRACE_API_URL": self._way} if self._way is not None else {}
        return super().environment(**{**way, **environ})

    # -- workers

    @property
    def worker(self) -> Worker:
        """The first worker."""
        return self.workers[0]

    def hire(self, *options: str, name: str | None = None, **environ: Any) -> Worker:
        """Start another worker, with these options and settings; return it when its pool is ready."""
        worker = Worker(self, name or f"w{len(self.workers) + 1}", options, dict(environ))
        self.workers.append(worker.start())
        until(self._has_pool, "the pool to be ready", told=self.told)
        return worker

    def _has_pool(self) -> bool:
        pool = self.get(f"/work_pools/{POOL}")
        return pool is not None and pool["status"] == "READY"

    # -- deployments and runs

    def deploy(
        self, source: str, function: str = "main", *, fields: Json | None = None, **job: Any
    ) -> Deployment:
        """Deploy a function of a source text to the pool.

        ``job`` are its job variables (``grace_seconds=1``, ``start="fresh"``); ``fields`` are fields of the
        deployment itself, laid over those that are made here.
        """
        number = next(self._numbers)
        folder = self.folder / f"code_{number}"
        folder.mkdir()
        (folder / "flows.py").write_text(textwrap.dedent(source), encoding="utf-8")
        name = f"{function.replace('_', '-')}-{number}"
        flow = self.post("/flows/", {"name": function.replace("_", "-")})
        made = {
            "name": name,
            "flow_id": flow["id"],
            "work_pool_name": POOL,
            "entrypoint": f"flows.py:{function}",
            "path": str(folder),
            "job_variables": dict(job),
        }
        return Deployment(
            self.post("/deployments/", {**made, **(fields or {})})["id"], f"{flow['name']}/{name}", folder
        )

    def run(self, deployment: Deployment, **parameters: object) -> Run:
        """Make a run of a deployment, due at once."""
        made = self.post(f"/deployments/{deployment.id}/create_flow_run", {"parameters": parameters})
        return self.found(made["id"])

    def found(self, id: str) -> Run:
        """Take a run that somebody else made (a command, a schedule) into care."""
        run = Run(self, id)
        self.runs.append(run)
        return run

    def carry_out(self, source: str, function: str = "main", **job: Any) -> Run:
        """Deploy a function and make one run of it."""
        return self.run(self.deploy(source, function, **job))

    @contextlib.contextmanager
    def pool_default(self, **job: Any) -> Iterator[None]:
        """Give the pool's template other defaults for a while."""
        before = (self.get(f"/work_pools/{POOL}") or {})["base_job_template"]
        changed = copy.deepcopy(before)
        for name, value in job.items():
            changed["variables"]["properties"][name]["default"] = value
        self._set_template(changed)
        try:
            yield
        finally:
            self._set_template(before)

    def _set_template(self, template: Json) -> None:
        answer = self.client.patch(f"/work_pools/{POOL}", json={"base_job_template": template})
        assert answer.status_code == 204, answer.text

    def post(self, path: str, body: Json) -> Json:
        """Send a JSON body; return the answer's, which is to be a success."""
        answer = self.client.post(path, json=body)
        assert answer.status_code in (200, 201), f"{path}: {answer.status_code} {answer.text}"
        found: Json = answer.json()
        return found

    # -- the end

    def told(self) -> str:
        """Return what can be said about workers and server when something went wrong."""
        parts = []
        for worker in self.workers:
            parts += [f"--- worker {worker.name}", worker.output()[-4000:]]
        return "\n".join([*parts, "--- server", self.server.told()])

    def settle(self) -> None:
        """End what is left of the runs so far: what one test leaves must not slow down the next."""
        for run in self.runs:
            run.close()
        self.runs = []

    def close(self) -> None:
        """End workers, runs and their supervisors; nothing of them is left."""
        for worker in self.workers:
            if worker.is_alive():
                worker.terminate()
        for worker in self.workers:
            with contextlib.suppress(AssertionError):
                worker.wait(_END_S)
            worker.kill()
        self.settle()
        supervisors = [
            Process(entry.pid)
            for folder in self.spool.folders()
            if folder.journal.exists()
            for _, entry in iterate(folder.journal)
            if isinstance(entry, entries.Adopted) and self._is_ours(entry.pid)
        ]
        with contextlib.suppress(AssertionError):  # the server may be gone: then they would wait for it
            until(lambda: not any(one.is_alive() for one in supervisors), "supervisors to end", within=2.0)
        for supervisor in supervisors:
            supervisor.kill()
        super().close()

    def _is_ours(self, pid: int) -> bool:
        """Say whether a process was started for this home; one that ended may have left its number to anybody."""
        with contextlib.suppress(OSError):
            return f"HEADRACE_HOME={self.home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(
                b"\0"
            )
        return False


@contextlib.contextmanager
def at_work(
    folder: Path,
    *options: str,
    database_url: str | None = None,
    lease_s: float | None = None,
    **environ: Any,
) -> Iterator[Crew]:
    """Give a crew of its own: a server on a database, and one worker with these options and settings."""
    server = Server(folder / "server", database_url=database_url, lease_s=lease_s).start()
    crew = Crew(folder / "host", server)
    try:
        crew.hire(*options, **environ)
        yield crew
    finally:
        crew.close()
        server.stop()
