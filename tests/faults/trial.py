"""Runs that keep diaries, and the comparison of these with what the server has of them when all is quiet again."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from headrace.model.states import TERMINAL

from ..verdicts.crew import POOL, Crew, Deployment
from ..verdicts.house import Json, share

EARNED = {
    "returns": ("COMPLETED", "Completed"),
    "raises": ("FAILED", "Failed"),
    "dies": ("CRASHED", "Crashed"),
    "waits": ("CANCELLED", "Cancelled"),
}
"""The last thing that a run writes, and the state that it has earned by that."""

SLOTS = 5
"""The limit of the queue: some runs always wait for a slot."""

AWAY_S = 60.0
"""How long a server that is killed, restarted or starved may give no answer to the test itself."""

_FLOWS = Path(__file__).with_name("flows.py")
_numbers = itertools.count(1)


class Line(NamedTuple):
    """One line of a diary."""

    at: float
    word: str
    rest: str


class Planned(NamedTuple):
    """A run of a trial; ``id`` is empty for a script's, which makes it itself."""

    number: int
    end: str
    id: str


def read(path: Path) -> list[Line]:
    """Return the lines of a diary; none before it is begun."""
    text = path.read_text(encoding="ascii") if path.exists() else ""
    found = [line.split(" ", 2) for line in text.splitlines()]
    return [Line(float(at), word, rest[0] if rest else "") for at, word, *rest in found]


class Trial:
    """Some runs of a crew, under a worker or as scripts; what is asked here goes the direct way to the server."""

    def __init__(self, crew: Crew, deployment: Deployment, *, steps: int = 24, pace_s: float = 0.03) -> None:
        self.crew = crew
        self.planned: list[Planned] = []
        self.records: dict[int, Json] = {}
        """What is on record of the runs that are over, by their numbers."""
        self._deployment = deployment
        self._steps, self._pace_s = steps, pace_s
        self._diaries = crew.folder / f"diaries_{next(_numbers)}"
        self._diaries.mkdir()
        self._asked: set[int] = set()
        self._before: int = self.ask("POST", "/flow_runs/count", {}).json()

    # -- making runs

    def plan(self, *ends: str) -> None:
        """Make runs for the worker, due at once."""
        for end in ends:
            number = len(self.planned) + 1
            given = {"folder": str(self._diaries), "number": number, "end": end}
            body = {
                "parameters": {**given, "steps": self._steps, "pace_s": self._pace_s},
                "idempotency_key": f"{self._diaries.name}-{number}",
            }
            made = self.ask("POST", f"/deployments/{self._deployment.id}/create_flow_run", body)
            self.planned.append(Planned(number, end, made.json()["id"]))

    def start_scripts(self, *ends: str, **environ: object) -> None:
        """Start plain scripts with the same flow, each with a companion."""
        source = _FLOWS.read_text(encoding="utf-8")
        for end in ends:
            number = len(self.planned) + 1
            words = (str(self._diaries), number, end, self._steps, self._pace_s)
            self.crew.start(source, *map(str, words), **environ)
            self.planned.append(Planned(number, end, ""))

    def diary(self, run: Planned) -> list[Line]:
        """Return what a run wrote so far."""
        return read(self._diaries / str(run.number))

    def id_of(self, run: Planned) -> str:
        """Return a run's id; empty while a script has not begun."""
        begun = [line.rest.split()[0] for line in self.diary(run) if line.word == "begins"]
        return run.id or (begun[0] if begun else "")

    # -- the way to their ends

    def look(self) -> int:
        """Note which runs are over and cancel those that wait for it; return how many are not over."""
        for run in self.planned:
            id = self.id_of(run)
            if run.number in self.records or not id:
                continue
            if run.end == "waits" and run.number not in self._asked and self._waits(run):
                self._cancel(id)
                self._asked.add(run.number)
            answer = self.ask("GET", f"/flow_runs/{id}", missing=True)
            if answer.status_code == 200 and answer.json()["state_type"] in TERMINAL:
                self.records[run.number] = answer.json()
        return len(self.planned) - len(self.records)

    def _waits(self, run: Planned) -> bool:
        return any(line.word == "waits" for line in self.diary(run))

    def _cancel(self, id: str) -> None:
        state = {"type": "CANCELLING", "name": "Cancelling", "message": "Asked by the test."}
        self.ask("POST", f"/flow_runs/{id}/set_state", {"state": state})

    def finish(self, within: float) -> None:
        """Wait until all runs are over and their journals shipped; fail when that takes longer (in seconds)."""
        began = time.monotonic()
        while self.look() or self.crew.spool.folders():
            waited = time.monotonic() - began
            assert waited < within * share(), f"Not at rest after {waited:.0f} s.\n{self.told()}"
            time.sleep(0.05)  # between two looks

    def ask(
        self, method: str, path: str, body: Json | None = None, *, missing: bool = False
    ) -> httpx.Response:
        """Ask the server, again and again while it is away; 404 is an answer where something may be ``missing``."""
        until = time.monotonic() + AWAY_S
        while True:
            told: object
            try:
                answer = self.crew.client.request(method, path, json=body)
            except httpx.TransportError as error:
                told = error
            else:
                if answer.status_code < 300 or (missing and answer.status_code == 404):
                    return answer
                told = f"{answer.status_code} {answer.text}"
                assert answer.status_code == 503, f"{method} {path}: {told}\n{self.crew.server.told()}"
            assert time.monotonic() < until, f"{method} {path}: {told}\n{self.crew.server.told()}"
            time.sleep(0.1)  # what a client does between two tries

    # -- what came of it

    def check(self) -> None:
        """Assert that the server says of every run what its diary says, and of nothing else."""
        wrong = [f"run {run.number} ({run.end}): {what}" for run in self.planned for what in self._wrong(run)]
        made = self.ask("POST", "/flow_runs/count", {}).json() - self._before
        if made != len(self.planned):
            wrong.append(f"{made} flow runs are on record, and {len(self.planned)} were made")
        queue = self.ask("GET", f"/work_pools/{POOL}").json()["default_queue_id"]
        held = self.ask("POST", f"/work_queues/{queue}/concurrency_status", {}).json()["active_slots"]
        if held:
            wrong.append(f"{held} slots are held")
        wrong += [f"journal {folder.id} is not shipped" for folder in self.crew.spool.folders()]
        wrong += [f"worker {one.name} has ended" for one in self.crew.workers if not one.is_alive()]
        wrong += ["a worker met a bug" for one in self.crew.workers if "Traceback" in one.output()]
        server = (self.crew.server.home / "server.log").read_text(errors="replace")
        wrong += [line for line in server.splitlines() if "answered with 500" in line]
        assert not wrong, "\n".join([*wrong, self.told()])

    def _wrong(self, run: Planned) -> list[str]:
        diary, id = self.diary(run), self.id_of(run)
        record = self.ask("GET", f"/flow_runs/{id}").json()
        found = list(_wrong_state(run, diary, record))
        said = [f"said {line.rest}" for line in diary if line.word == "says"]
        heard = [line for line in self.crew.logs(id) if line.startswith("said ")]
        if heard != said:
            found.append(f"its log: {_difference(said, heard)}")
        tasks = self.crew.find("task_runs", {"flow_runs": {"id": {"any_": [id]}}})
        states = Counter(task["state_type"] for task in tasks)
        if states != Counter({"COMPLETED": sum(line.word == "task" for line in diary)}):
            found.append(
                f"it ran {sum(line.word == 'task' for line in diary)} tasks, and on record are {states}"
            )
        return found

    def told(self) -> str:
        """Return what can be said when something went wrong."""
        lines = []
        for run in self.planned:
            record = self.records.get(run.number) or self.crew.flow_run(self.id_of(run)) or {}
            states = [state["name"] for state in record.get("state_history", [])]
            said = (record.get("state") or {}).get("message")
            last = self.diary(run)[-1:]
            lines.append(
                f"run {run.number} ({run.end}, {self.id_of(run)}): {states}, {said!r}, last written {last}"
            )
        for folder in self.crew.spool.folders():
            log = folder.path / "supervisor.log"
            lines.append(f"--- in the spool {folder.path}: {log.read_text() if log.exists() else ''}")
        return "\n".join([*lines, self.crew.told()])


def _wrong_state(run: Planned, diary: Sequence[Line], record: Json) -> list[str]:
    begun = [line.rest.split()[0] for line in diary if line.word == "begins"]
    if begun != [record["id"]]:
        return [f"it began {len(begun)} times, as {begun}; its id is {record['id']}"]
    last = diary[-1].word
    if last != run.end:  # nothing else ends it: somebody has
        return [f"it was to end as {run.end!r} and came to {last!r}; {record['state_name']} is on record"]
    found = []
    if (record["state_type"], record["state_name"]) != EARNED[last]:
        found.append(f"it {last}, and {record['state_name']} is on record")
    history = [state["name"] for state in record["state_history"]]
    if last != "dies" and "CRASHED" in [state["type"] for state in record["state_history"]]:
        found.append(f"it {last}, and was said to have crashed: {history}")
    return found


def _difference(said: Sequence[str], heard: Sequence[str]) -> str:
    lost, more = Counter(said) - Counter(heard), Counter(heard) - Counter(said)
    if not lost and not more:
        return f"not in its order: {list(heard)}"
    return f"{sum(lost.values())} lines are missing {list(lost)[:5]}, {sum(more.values())} are there too often {list(more)[:5]}"


def prepare(crew: Crew) -> Deployment:
    """Deploy the flow, under a limit and without a brake on crashes, and return its deployment."""
    queue = (crew.get(f"/work_pools/{POOL}") or {})["default_queue_id"]
    answer = crew.client.patch(f"/work_queues/{queue}", json={"concurrency_limit": SLOTS})
    assert answer.status_code == 204, answer.text
    fields = {"crash_brake": {"crashes": 0, "seconds": 60.0}}
    return crew.deploy(
        _FLOWS.read_text(encoding="utf-8"), fields=fields, grace_seconds=5.0, stream_output=False
    )


def wait_until(look: Callable[[], bool], what: str, within: float) -> None:
    """Wait until something is so."""
    until = time.monotonic() + within * share()
    while not look():
        assert time.monotonic() < until, f"In vain for {within:g} s: {what}"
        time.sleep(0.02)  # between two looks
