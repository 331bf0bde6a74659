"""Workers as servers see them: they claim over HTTP and ship journals, with no processes behind them."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from headrace.journal.spool import boot_id
from headrace.model import entries

Json = dict[str, Any]

POOL = "founding"
_PATIENCE_S = 60.0
_PAUSE_S = 0.1


class Refused(Exception):
    """A server answered with an error that is no passing one."""


class Wire:
    """One connection to one of several servers; after a fault it asks the next one. For one thread."""

    def __init__(self, urls: Sequence[str], first: int = 0) -> None:
        self._urls = [urlsplit(url) for url in urls]
        self._at = first % len(urls)
        self._connection: http.client.HTTPConnection | None = None
        self.faults = 0
        """How often it had to ask again."""

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of an answer, asking again while servers or their database are away."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            told = "nothing"
            try:
                status, answer = self._once(method, path, data)
                if status < 500 and status != 429:
                    return self._read(status, answer, f"{method} {path}")
                told = f"{status} {answer[:300]!r}"
            except (OSError, http.client.HTTPException) as error:
                told = repr(error)
            self.close()
            self.faults += 1
            self._at = (self._at + 1) % len(self._urls)
            if time.monotonic() > deadline:
                raise Refused(f"{method} {path} for {_PATIENCE_S:g} s: {told}")
            time.sleep(_PAUSE_S)  # what a client does between two tries

    def _once(self, method: str, path: str, data: bytes | None) -> tuple[int, bytes]:
        url = self._urls[self._at]
        if self._connection is None:
            self._connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_PATIENCE_S)
        self._connection.request(method, url.path + path, data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    @staticmethod
    def _read(status: int, answer: bytes, what: str) -> Any:
        if status >= 400 and status != 409:
            raise Refused(f"{what}: {status} {answer[:300]!r}")
        return json.loads(answer) if answer else None

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Life(NamedTuple):
    """When an attempt lived, by the clock of who carried it out (seconds), and of which queue it was."""

    run: str
    queue: str
    began: float
    ended: float


class Worker(threading.Thread):
    """A worker of one queue: it takes runs, lets each live as long as its parameter says, and tells of it."""

    def __init__(
        self, number: int, queue: str, urls: Sequence[str], enough: threading.Event, *, at_once: int = 1
    ) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self.lives: list[Life] = []
        self.failure: BaseException | None = None
        self.wire = Wire(urls, number)
        self._queue = queue
        self._id = str(uuid.uuid4())
        self._enough = enough
        self._at_once = at_once
        self._have: list[str] = []
        self._rng = random.Random(number)

    def run(self) -> None:
        """Take and carry out runs until there is enough."""
        try:
            while not self._enough.is_set():
                for claim in self._claim():
                    self._carry_out(claim)
        except BaseException as error:  # the test shows it, whatever it was
            self.failure = error
        finally:
            self.wire.close()

    def _claim(self) -> list[Json]:
        body = {
            "worker_id": self._id,
            "worker_name": self.name,
            "work_queue_names": [self._queue],
            "limit": self._at_once,
            "wait": 2.0,
            "have": self._have[-100:],
        }
        answer = self.wire.ask("POST", f"/work_pools/{POOL}/claim", body)
        new = [claim for claim in answer.get("claims", []) if claim["journal"] not in self._have]
        return confirmed(self.wire, self._id, new)

    def _carry_out(self, claim: Json) -> None:
        self._have.append(claim["journal"])
        first, rest = journal_of(claim)
        began = time.monotonic()
        held = self._ship(claim, 0, first)
        time.sleep(claim["run"]["parameters"].get("seconds", 0.0))  # the work itself
        self.lives.append(Life(claim["run"]["id"], self._queue, began, time.monotonic()))
        self._ship(claim, held, rest)

    def _ship(self, claim: Json, offset: int, data: bytes) -> int:
        """Ship bytes of a journal, some of them twice; return how many are held then."""
        for _ in range(2 if self._rng.random() < 0.05 else 1):
            answer = self.wire.ask("PUT", f"/journals/{claim['journal']}?offset={offset}", data)
            if answer["offset"] != offset + len(data):
                raise Refused(
                    f"journal {claim['journal']} is held up to {answer['offset']}, not {offset + len(data)}"
                )
        return offset + len(data)


def confirmed(wire: Wire, worker_id: str, given: list[Json]) -> list[Json]:
    """Tell the server that attempts were received; return those that are to be begun."""
    if not given:
        return []
    body = {"worker_id": worker_id, "journals": [claim["journal"] for claim in given]}
    kept = set(wire.ask("POST", "/claims/confirm", body)["journals"])
    return [claim for claim in given if claim["journal"] in kept]


def journal_of(claim: Json) -> tuple[bytes, bytes]:
    """Return the journal of an attempt that completes, in two pieces: its beginning, its end."""
    now, run = time.time_ns() // 1000, claim["run"]
    first: list[entries.Entry] = [
        entries.Open(
            journal=claim["journal"], t=now, anchor=(now, now), pid=1, started=1, boot=boot_id(), host="here",
            attempt=claim["attempt"], kind="worker",
        ),
        entries.FlowRun(run["id"], now, run["flow_name"], run["name"], planned=True),
        entries.State(run["id"], now + 1, "RUNNING"),
    ]  # fmt: skip
    rest: list[entries.Entry] = [
        entries.Log(now + 2, 20, "flow", "Done.", run["id"]),
        entries.State(run["id"], now + 3, "COMPLETED"),
        entries.Exit(now + 4, 0),
    ]
    return _bytes(first), _bytes(rest)


def _bytes(records: Sequence[entries.Entry]) -> bytes:
    return b"".join(entries.encode(record) + b"\n" for record in records)


class Office:
    """A pool with queues, each under a limit, and a deployment for each queue."""

    def __init__(
        self, urls: Sequence[str], queues: Sequence[str], limit: int | None, pool: str = POOL
    ) -> None:
        self.wire = Wire(urls)
        self.queues = dict.fromkeys(queues, "")
        self._deployments: dict[str, str] = {}
        if self._status(f"/work_pools/{pool}") == 404:
            self.wire.ask("POST", "/work_pools/", {"name": pool, "type": "process"})
        flow = self.wire.ask("POST", "/flows/", {"name": "founding"})["id"]
        for name in queues:
            made = self.wire.ask(
                "POST", f"/work_pools/{pool}/queues", {"name": name, "concurrency_limit": limit}
            )
            self.queues[name] = made["id"]
            place = {"work_pool_name": pool, "work_queue_name": name}
            body = {"name": name, "flow_id": flow, "entrypoint": "f.py:founding", **place}
            self._deployments[name] = self.wire.ask("POST", "/deployments/", body)["id"]

    def close(self) -> None:
        """Hang up."""
        self.wire.close()

    def _status(self, path: str) -> int:
        return self.wire._once("GET", path, None)[0]

    def plan(self, queue: str, seconds: Sequence[float]) -> list[str]:
        """Make runs that are due now and live so long; return their ids."""
        ids: list[str] = []
        for start in range(0, len(seconds), 100):
            bodies = [{"parameters": {"seconds": one}} for one in seconds[start : start + 100]]
            path = f"/deployments/{self._deployments[queue]}/create_flow_run/bulk"
            ids += [one["flow_run_id"] for one in self.wire.ask("POST", path, bodies)["results"]]
        return ids

    def completed(self) -> int:
        """Return how many runs are on record as completed."""
        wanted = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        return int(self.wire.ask("POST", "/flow_runs/count", wanted))

    def held(self) -> dict[str, int]:
        """Return how many slots of each queue are held."""
        return {
            name: self.wire.ask("POST", f"/work_queues/{id}/concurrency_status", {})["active_slots"]
            for name, id in self.queues.items()
        }


def most_at_once(lives: Sequence[Life]) -> int:
    """Return how many attempts lived at the same time at most."""
    steps = sorted([(life.began, 1) for life in lives] + [(life.ended, -1) for life in lives])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def wait_until(
    done: Callable[[], bool], workers: Sequence[Worker], *, within: float, told: Callable[[], str]
) -> None:
    """Wait until something is so, as long as no worker has failed."""
    deadline = time.monotonic() + within
    while not done():
        failures = [worker.failure for worker in workers if worker.failure is not None]
        assert not failures, f"{failures}\n{told()}"
        assert time.monotonic() < deadline, f"It is not so after {within:g} s.\n{told()}"
        time.sleep(0.1)  # between two looks
