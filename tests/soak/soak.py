"""Runs that end in all ways under two workers, while workers, supervisors and the server are killed at random."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from headrace.journal.reader import iterate
from headrace.journal.spool import owner_of
from headrace.model import entries
from headrace.model.states import TERMINAL

from ..verdicts.crew import POOL, Crew
from ..verdicts.house import Process
from ..verdicts.server import Server
from ..verdicts.test_worker_life_claims import most_at_once
from .judge import Json, judge, lives, read

LEASE_S = 10.0
SLOTS = 6
"""The limit of the queue."""

EACH_WORKER = 4
"""How many runs each of the two workers takes at once."""

OUTSTANDING = 12
"""How many runs are not over at any time, so that some always wait."""

KILL_EVERY_S = (0.5, 2.5)
SERVER_AWAY_S = (0.0, 2.0)
SETTLE_S = 120.0
"""How long runs and processes may take to end after the last kill."""

ENDS: tuple[tuple[str, str], ...] = (
    ("main", "returns"), ("main", "raises"), ("main", "exits"), ("main", "vanishes"), ("main", "killed"),
    ("main", "faults"), ("timed", "sleeps"), ("main", "waits"), ("main", "ignores"), ("main", "leaves a child"),
    ("main", "floods"), ("main", "catches"), ("main", "takes long"), ("tried", "raises,returns"),
    ("tried", "killed,returns"), ("tried", "killed,raises,returns"), ("tried", "raises,vanishes,killed"),
)  # fmt: skip
"""Functions of `flows.py`, and how their runs are to end."""


class Planned(NamedTuple):
    """One run of the soak."""

    number: int
    end: str
    id: str


class Findings(NamedTuple):
    """What a soak came to."""

    seed: int
    runs: int
    ends: Counter[tuple[str, str]]
    """``{(how it was to end, its state): how many}``."""
    kills: Counter[str]
    lost: int
    """Runs that were presumed lost at some time."""
    faults: list[str]
    """What should not be; empty when all is well."""

    def told(self) -> str:
        """Return all of it for people."""
        lines = [f"seed {self.seed}: {self.runs} runs, {self.lost} of them presumed lost at some time"]
        lines += [f"  killed {what}: {count} times" for what, count in sorted(self.kills.items())]
        lines += [f"  {end:<24} {state:<14} {count:>5}" for (end, state), count in sorted(self.ends.items())]
        lines += [f"FAULT: {fault}" for fault in self.faults] or ["no fault"]
        return "\n".join(lines)


class Soak:
    """One soak in a folder of its own; ``say`` is given a line now and then."""

    def __init__(
        self, folder: Path, *, seed: int, database_url: str | None, say: Callable[[str], None]
    ) -> None:
        self.seed = seed
        self.kills: Counter[str] = Counter()
        self.planned: list[Planned] = []
        self._say = say
        self._rng = random.Random(seed)
        self._server = Server(folder / "server", lease_s=LEASE_S, database_url=database_url)
        self._folder = folder
        self._diaries = folder / "diaries"
        self._over: dict[str, Json] = {}
        self._asked: set[str] = set()
        self._failure: BaseException | None = None

    def run(self, seconds: float) -> Findings:
        """Soak for so long, let everything come to its end, and look at what is there."""
        self._diaries.mkdir(parents=True)
        self._server.start()
        self._crew = crew = Crew(self._folder / "host", self._server)
        try:
            for _ in range(2):
                crew.hire("--limit", str(EACH_WORKER))
            self._deployments = self._deploy()
            self._work(seconds)
            faults = [*self._settle(), *self._judge_all()]
            faults += [*self._held(), *self._open()]
            faults += self._left()
            return self._findings(faults)
        finally:
            crew.close()
            self._server.stop()

    def _deploy(self) -> dict[str, str]:
        """Deploy each flow; a brake on crashes would end the soak."""
        queue = (self._ask("GET", f"/work_pools/{POOL}")).json()["default_queue_id"]
        self._queue: str = queue
        self._ask("PATCH", f"/work_queues/{queue}", {"concurrency_limit": SLOTS})
        source = Path(__file__).with_name("flows.py").read_text(encoding="utf-8")
        found = {}
        for function in sorted({function for function, _ in ENDS}):
            fields = {"crash_brake": {"crashes": 0, "seconds": 60.0}}
            made = self._crew.deploy(source, function, fields=fields, grace_seconds=1.0, stream_output=False)
            found[function] = made.id
        return found

    # -- the soak itself

    def _work(self, seconds: float) -> None:
        enough = threading.Event()
        chaos = threading.Thread(target=self._kill_until, args=(enough,), name="chaos")
        chaos.start()
        until, told = time.monotonic() + seconds, 0.0
        try:
            while time.monotonic() < until and self._failure is None:
                self._look()
                if len(self.planned) - len(self._over) < OUTSTANDING:
                    self._plan()
                if time.monotonic() > told + 10:
                    told = time.monotonic()
                    self._say(f"{len(self.planned)} runs, {len(self._over)} over; killed {dict(self.kills)}")
                time.sleep(0.02)
        finally:
            enough.set()
            chaos.join()
        if self._failure is not None:
            raise self._failure

    def _plan(self) -> None:
        number = len(self.planned) + 1
        # The first runs end in each way there is, so that the shortest soak has them all.
        function, end = ENDS[number - 1] if number <= len(ENDS) else self._rng.choice(ENDS)
        body = {
            "parameters": {"folder": str(self._diaries), "number": number, "end": end},
            "idempotency_key": f"soak-{number}",
        }
        made = self._ask("POST", f"/deployments/{self._deployments[function]}/create_flow_run", body)
        self.planned.append(Planned(number, end, made.json()["id"]))

    def _look(self) -> None:
        """Note which runs are over, and have those cancelled that wait for it."""
        for run in self.planned:
            if run.id in self._over:
                continue
            if run.end in ("waits", "ignores") and run.id not in self._asked and self._waits(run):
                state = {"type": "CANCELLING", "name": "Cancelling", "message": "Asked by the soak."}
                self._ask("POST", f"/flow_runs/{run.id}/set_state", {"state": state})
                self._asked.add(run.id)
            record = self._ask("GET", f"/flow_runs/{run.id}").json()
            if record["state_type"] in TERMINAL:
                self._over[run.id] = record

    def _waits(self, run: Planned) -> bool:
        return any(line.word == "waits" for line in self._diary(run))

    def _diary(self, run: Planned) -> list[Any]:
        path = self._diaries / str(run.number)
        return read(path.read_text(encoding="ascii")) if path.exists() else []

    def _ask(self, method: str, path: str, body: Json | None = None) -> httpx.Response:
        """Ask the server, which may be away for a while."""
        until = time.monotonic() + 60
        while True:
            try:
                answer = self._crew.client.request(method, path, json=body)
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
                continue
            assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
            return answer

    # -- the killing

    def _kill_until(self, enough: threading.Event) -> None:
        rng = random.Random(self.seed + 1)
        ways = [self._kill_worker, self._kill_supervisor, self._kill_supervisor, self._kill_server]
        left: list[Callable[[random.Random], None]] = []
        try:
            while not enough.wait(rng.uniform(*KILL_EVERY_S)):
                left = left or rng.sample(ways, len(ways))  # each in turn, in another order each time
                left.pop()(rng)
        except BaseException as error:  # the soak fails by it, in its own thread
            self._failure = error

    def _kill_worker(self, rng: random.Random) -> None:
        worker = rng.choice(self._crew.workers)
        worker.kill()
        self.kills["a worker"] += 1
        worker.start()

    def _kill_server(self, rng: random.Random) -> None:
        self._server.kill()
        self.kills["the server"] += 1
        time.sleep(rng.uniform(*SERVER_AWAY_S))
        self._server.start()

    def _kill_supervisor(self, rng: random.Random) -> None:
        found = sorted(self._supervisors())
        if found:
            with contextlib.suppress(ProcessLookupError):
                Process(rng.choice(found)).kill()
                self.kills["a supervisor"] += 1

    def _supervisors(self) -> Iterator[int]:
        """Yield the living supervisors: the last that a journal names, and never a run's own process."""
        for folder in self._crew.spool.folders():
            with contextlib.suppress(OSError):
                header = owner_of(folder)
                pids = [e.pid for _, e in iterate(folder.journal) if isinstance(e, entries.Adopted)]
                if header is not None and pids and pids[-1] != header.pid and self._is_ours(pids[-1]):
                    yield pids[-1]

    def _is_ours(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            is_supervisor = b"headrace.template" in command or b"headrace.companion" in command
            return is_supervisor and Process(pid).is_alive() and pid in _of_home(self._crew.home)
        return False

    # -- afterwards

    def _settle(self) -> list[str]:
        """Let all runs end, journals be shipped and processes go; return what did not."""
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            self._look()
            open_runs = [run for run in self.planned if run.id not in self._over]
            if not open_runs and not self._crew.spool.folders():
                return []
            time.sleep(0.2)
        records = [(run, self._ask("GET", f"/flow_runs/{run.id}").json()) for run in open_runs]
        faults = [
            f"run {run.number} ({run.end}, {run.id}) is {record['state_name']} after {SETTLE_S:g} s; "
            f"its diary: {[(line.word, line.rest) for line in self._diary(run)]}; "
            f"its states: {_states(record)}"
            for run, record in records
        ]
        return faults + [f"journal {folder.id} is not shipped" for folder in self._crew.spool.folders()]

    def _judge_all(self) -> list[str]:
        """Return what is wrong with the states on record, now that nothing more is to come."""
        faults = []
        for run in self.planned:
            record = self._over[run.id] = self._ask("GET", f"/flow_runs/{run.id}").json()
            wrong = judge(self._diary(run), record) if record["state_type"] in TERMINAL else None
            if wrong is not None:
                faults.append(
                    f"run {run.number} ({run.end}, {run.id}): {wrong}; its states: {_states(record)}"
                )
        return faults

    def _held(self) -> list[str]:
        """Return the slots that are held by nobody, and whether ever more runs lived than there are slots."""
        status = self._ask("POST", f"/work_queues/{self._queue}/concurrency_status", {}).json()
        held = [f"slot held by {run['id']} ({run['state_name']})" for run in status["flow_runs"]]
        most = most_at_once(lives([self._diary(run) for run in self.planned]))
        if most > SLOTS and not self._lost():  # a run that is presumed lost gives its slot back and may live
            held.append(f"{most} runs lived at once, and there are {SLOTS} slots")
        return held

    def _open(self) -> list[str]:
        """Return how many flow runs and task runs of any kind, subflows too, are on record as not over."""
        states = {"state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]}}}
        faults = []
        for resource in ("flow_runs", "task_runs"):
            count = self._ask("POST", f"/{resource}/count", {resource: states}).json()
            faults += [f"{count} {resource} are on record as not over"] if count else []
        return faults

    def _left(self) -> list[str]:
        """End the workers; return what of their home is alive then, but the server."""
        for worker in self._crew.workers:
            worker.terminate()
        for worker in self._crew.workers:
            worker.wait(20.0)
        until = time.monotonic() + 10
        while (left := _of_home(self._crew.home)) and time.monotonic() < until:
            time.sleep(0.1)
        return [f"process {pid} is left: {command}" for pid, command in left.items()]

    def _lost(self) -> int:
        return sum("Lost" in _states(record) for record in self._over.values())

    def _findings(self, faults: list[str]) -> Findings:
        ends = Counter(
            (run.end, self._over[run.id]["state_name"]) for run in self.planned if run.id in self._over
        )
        return Findings(self.seed, len(self.planned), ends, self.kills, self._lost(), faults)


def _states(record: Json) -> list[str]:
    return [state["name"] for state in record["state_history"]]


def _of_home(home: Path) -> dict[int, str]:
    """Return the living processes of a home folder by their environment, ``{pid: command}``."""
    mark = b"HEADRACE_HOME=" + os.fsencode(home)
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (
                    mark in (entry / "environ").read_bytes().split(b"\0")
                    and Process(int(entry.name)).is_alive()
                ):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    found[int(entry.name)] = b" ".join(words).decode(errors="replace").strip()
    return found
